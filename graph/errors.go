package graph

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"unicode/utf8"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"github.com/onceql/onceql/db"
	"github.com/onceql/onceql/graph/transport"
	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/idempotency/gqlidem"
	"github.com/onceql/onceql/internal/requestid"
)

// The codes of the errors that are not about idempotency keys, in
// `extensions.code`; package gqlidem has the others.
const (
	CodeBadUserInput     = gqlidem.CodeBadUserInput
	CodeNotFound         = "NOT_FOUND"
	CodeConflict         = "CONFLICT"
	CodeUnauthenticated  = "UNAUTHENTICATED"
	CodeForbidden        = "FORBIDDEN"
	CodeLimitExceeded    = transport.CodeLimitExceeded
	CodeParseFailed      = errcode.ParseFailed
	CodeValidationFailed = errcode.ValidationFailed
)

func badInput(format string, args ...any) *gqlerror.Error {
	return gqlidem.NewError(CodeBadUserInput, fmt.Sprintf(format, args...))
}

func limitExceeded(limit, message string) *gqlerror.Error {
	exceeded := gqlidem.NewError(CodeLimitExceeded, message)
	exceeded.Extensions["limit"] = limit
	return exceeded
}

// queryError says what the client can do about a query that was not answered. What took too
// long, or is too large, would be so again: to retry it by itself would be no help.
func queryError(err error) error {
	switch {
	case errors.Is(err, db.ErrBusy):
		busy := gqlidem.NewError(gqlidem.CodeUnavailable, db.ErrBusy.Error()+"; try again")
		busy.Err = err
		return busy
	case errors.Is(err, db.ErrSlow):
		return limitExceeded("queryTime", db.ErrSlow.Error()+"; ask for less")
	case errors.Is(err, transport.ErrNoMemory):
		busy := gqlidem.NewError(gqlidem.CodeUnavailable, transport.ErrNoMemory.Error()+"; try again")
		busy.Err = err
		return busy
	case errors.Is(err, transport.ErrLargeAnswer):
		return limitExceeded("answer", transport.ErrLargeAnswer.Error()+"; ask for less in one request")
	}
	return err
}

// A Presenter gives every error that leaves the server its code, whether it may
// be retried, and the id of its request. What it does not know is a defect: the
// client learns the id, and the log the rest. Of what is unavailable, Refused says how
// often the log should have it as a warning.
type Presenter struct {
	Log     *slog.Logger
	Refused Refused
}

// Present implements graphql.ErrorPresenterFunc.
func (p Presenter) Present(ctx context.Context, err error) *gqlerror.Error {
	presented := present(ctx, err)
	shorten(presented)
	complete(ctx, presented)
	first := p.refused(ctx, presented, err)
	switch code := presented.Extensions["code"]; code {
	case gqlidem.CodeInternal:
		if !errors.As(err, new(*idempotency.PanicError)) || firstPanic(ctx) {
			p.Log.ErrorContext(ctx, "a field failed", about(ctx, code, err)...)
		}
	case gqlidem.CodeUnavailable:
		if first {
			p.Log.WarnContext(ctx, "a field is unavailable", about(ctx, code, err)...)
		} else {
			p.Log.DebugContext(ctx, "another field is unavailable", about(ctx, code, err)...)
		}
	}
	return presented
}

// Of a message and of the places in a document so much is told. gqlparser quotes what it
// does not like, and names each fragment of a cycle.
const (
	maxMessage   = 500 // bytes
	maxLocations = 10
)

// shorten bounds the size of an error, whatever it quotes.
func shorten(err *gqlerror.Error) {
	if len(err.Message) > maxMessage {
		end := maxMessage
		for end > 0 && !utf8.RuneStart(err.Message[end]) {
			end--
		}
		err.Message = err.Message[:end] + "…"
	}
	err.Locations = err.Locations[:min(len(err.Locations), maxLocations)]
}

// complete adds what every error says and this one does not yet.
func complete(ctx context.Context, err *gqlerror.Error) {
	extensions := maps.Clone(err.Extensions)
	if _, set := extensions["retryable"]; !set {
		code, _ := extensions["code"].(string)
		extensions = gqlidem.NewError(code, "").Extensions
		maps.Copy(extensions, err.Extensions)
	}
	if id := requestid.From(ctx); id != "" {
		extensions["requestId"] = id
	}
	err.Extensions = extensions
}

// Refuse answers a request that does not come to the API, as the API answers its
// errors.
func Refuse(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	refusal := gqlidem.NewError(code, message)
	complete(r.Context(), refusal)
	transport.WriteError(w, r, status, refusal)
}

// present returns an error of its own, which has a code.
func present(ctx context.Context, err error) *gqlerror.Error {
	var known *gqlerror.Error
	isKnown := errors.As(err, &known)
	field := graphql.GetFieldContext(ctx)
	if isKnown && field == nil && known.Err == nil {
		return requestError(ctx, known)
	}
	if field != nil && refusedArguments(field) && !errors.As(err, new(*idempotency.PanicError)) {
		return argumentError(field, err)
	}
	if isKnown && known.Extensions["code"] != nil {
		presented := *known
		if presented.Path == nil {
			presented.Path = graphql.GetPath(ctx)
		}
		return &presented
	}
	hidden := gqlidem.NewError(gqlidem.CodeInternal, "internal error")
	if unreachable(err) {
		hidden = gqlidem.NewError(gqlidem.CodeUnavailable, "the database can't be reached for now")
	}
	hidden.Path = graphql.GetPath(ctx)
	if isKnown {
		hidden.Locations = known.Locations
	}
	return hidden
}

// How gqlparser's messages begin that decide about an error's code or its text. It gives
// these errors no other mark; a test fails when it changes them.
const (
	messageTokenLimit = "exceeded token limit of "
	messageNesting    = "exceeded maximum nesting depth of "
	messageNumber     = "cannot use value "
)

// requestError gives gqlgen's error about a document, or about its variables, the
// code that says which.
func requestError(ctx context.Context, err *gqlerror.Error) *gqlerror.Error {
	presented := *err
	switch code := err.Extensions["code"]; {
	case strings.HasPrefix(err.Message, messageTokenLimit):
		return limitExceeded("tokens", "the document has more tokens than the limit of "+strings.TrimPrefix(err.Message, messageTokenLimit))
	case strings.HasPrefix(err.Message, messageNesting):
		exceeded := limitExceeded("depth", "the document nests deeper than "+strings.TrimPrefix(err.Message, messageNesting))
		exceeded.Locations = err.Locations
		return exceeded
	case err.Rule == rules.MaxIntrospectionDepth.Name:
		exceeded := limitExceeded("introspectionDepth", "the introspection nests lists too deeply")
		exceeded.Locations = err.Locations
		return exceeded
	case code == nil:
		presented.Extensions = map[string]any{"code": CodeValidationFailed}
	case code == CodeValidationFailed && graphql.HasOperationContext(ctx):
		operation := graphql.GetOperationContext(ctx)
		switch {
		case operation.Doc == nil: // It is the document that is not valid.
		case operation.Operation == nil:
			presented.Message = noOperation(operation)
		default:
			return variableError(err)
		}
	}
	return &presented
}

func noOperation(operation *graphql.OperationContext) string {
	if operation.OperationName == "" {
		return "the document has more than one operation: name one in operationName"
	}
	return "the document has no operation of the name in operationName"
}

// variableError names the variable in the message: a path is one into the
// response, and there is none.
func variableError(err *gqlerror.Error) *gqlerror.Error {
	refused := badInput("%s", err.Message)
	// gqlparser quotes the number that it ended up with, not the one it was given.
	if _, typ, ok := strings.Cut(err.Message, " as "); ok && strings.HasPrefix(err.Message, messageNumber) {
		refused.Message = "cannot use this number as " + typ
	}
	if len(err.Path) > 1 {
		refused.Message = fmt.Sprintf("$%s: %s", err.Path[1:], refused.Message)
	}
	return refused
}

// refusedArguments says whether the field never came to its resolver because its
// arguments could not be read as the types that they should have.
func refusedArguments(field *graphql.FieldContext) bool {
	return field.Args == nil && field.Field.Field != nil && len(field.Field.Definition.Arguments) > 0
}

// argumentError says what is wrong with an argument. gqlgen's path goes on into
// the argument, and a path is one into the response: the message has that part.
func argumentError(field *graphql.FieldContext, err error) *gqlerror.Error {
	refused := badInput("%v", err)
	refused.Path = field.Path()
	var known *gqlerror.Error
	if errors.As(err, &known) {
		refused.Message = known.Message
		if n := len(refused.Path); len(known.Path) > n {
			refused.Message = fmt.Sprintf("%s: %s", known.Path[n:], known.Message)
		}
	}
	if at := field.Field.Position; at != nil {
		refused.Locations = []gqlerror.Location{{Line: at.Line, Column: at.Column}}
	}
	return refused
}

// unreachable says whether a query failed because of the connection and not
// because of what it asks.
func unreachable(err error) bool {
	if errors.Is(err, idempotency.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return true
	}
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		switch pgErr.Code[:min(2, len(pgErr.Code))] {
		case "08", "53", "57", "58":
			return true
		}
		return false
	}
	// A connection that breaks in the middle of a query ends it with one of the
	// last two.
	return errors.As(err, new(*pgconn.ConnectError)) || pgconn.SafeToRetry(err) || pgconn.Timeout(err) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, new(net.Error))
}

// about is what the log says of an error and the client is not told.
func about(ctx context.Context, code any, err error) []any {
	attributes := []any{"code", code, "requestId", requestid.From(ctx), "path", graphql.GetPath(ctx).String(), "err", Describe(cause(err))}
	var panicked *idempotency.PanicError
	if errors.As(err, &panicked) {
		attributes = append(attributes, "stack", string(panicked.Stack))
	}
	return attributes
}

// Describe says for a log what an error is about. An error of Postgres may quote
// a payload in its message and its detail: what the engine found, and the error's
// code, table and constraint say enough.
func Describe(err error) string {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		return err.Error()
	}
	description := fmt.Sprintf("SQLSTATE %s, table %q, constraint %q", pgErr.Code, pgErr.TableName, pgErr.ConstraintName)
	for _, found := range []error{idempotency.ErrTable, idempotency.ErrTransaction, idempotency.ErrInProgress, idempotency.ErrUnavailable} {
		if errors.Is(err, found) {
			return found.Error() + ": " + description
		}
	}
	return description
}

// cause is the error beneath what the client is told.
func cause(err error) error {
	var known *gqlerror.Error
	if errors.As(err, &known) && known.Err != nil {
		return known.Err
	}
	return err
}

// Recover makes an error of a panic in a resolver. It names the panic's type and
// not its value, which may hold a payload.
func (p Presenter) Recover(_ context.Context, value any) error {
	return &idempotency.PanicError{Value: value, Stack: debug.Stack()}
}
