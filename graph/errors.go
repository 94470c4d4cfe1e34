package graph

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"strconv"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/idempotency/gqlidem"
	"github.com/onceql/onceql/internal/requestid"
)

// The codes of the errors that are not about idempotency keys, in
// `extensions.code`; package gqlidem has the others.
const (
	CodeBadUserInput     = gqlidem.CodeBadUserInput
	CodeNotFound         = "NOT_FOUND"
	CodeParseFailed      = errcode.ParseFailed
	CodeValidationFailed = errcode.ValidationFailed
)

func newError(code, message string) *gqlerror.Error {
	return &gqlerror.Error{Message: message, Extensions: map[string]any{"code": code, "retryable": false}}
}

func badInput(format string, args ...any) *gqlerror.Error {
	return newError(CodeBadUserInput, fmt.Sprintf(format, args...))
}

// A Presenter gives every error that leaves the server its code, whether it may
// be retried, and the id of its request. What it does not know is a defect: the
// client learns the id, and the log the rest.
type Presenter struct{ Log *slog.Logger }

// Present implements graphql.ErrorPresenterFunc.
func (p Presenter) Present(ctx context.Context, err error) *gqlerror.Error {
	presented := p.coded(ctx, err)
	presented.Extensions = maps.Clone(presented.Extensions)
	if _, set := presented.Extensions["retryable"]; !set {
		presented.Extensions["retryable"] = false
	}
	if id := requestid.From(ctx); id != "" {
		presented.Extensions["requestId"] = id
	}
	if code := presented.Extensions["code"]; code == gqlidem.CodeInternal || code == gqlidem.CodeUnavailable {
		p.log(ctx, code, err)
	}
	return presented
}

func (p Presenter) coded(ctx context.Context, err error) *gqlerror.Error {
	var known *gqlerror.Error
	if errors.As(err, &known) {
		presented := *known
		if presented.Path == nil {
			presented.Path = graphql.GetPath(ctx)
		}
		switch {
		case presented.Extensions["code"] != nil:
			return &presented
		case refusedArguments(ctx):
			presented.Extensions = map[string]any{"code": CodeBadUserInput}
			return &presented
		case known.Err == nil && graphql.GetFieldContext(ctx) == nil:
			// gqlgen's own word on the document.
			presented.Extensions = map[string]any{"code": CodeValidationFailed}
			return &presented
		}
	}
	hidden := &gqlerror.Error{Path: graphql.GetPath(ctx)}
	switch {
	case refusedArguments(ctx):
		hidden.Message = err.Error()
		hidden.Extensions = map[string]any{"code": CodeBadUserInput}
	case unreachable(err):
		hidden.Message = "the database can't be reached for now"
		hidden.Extensions = map[string]any{
			"code": gqlidem.CodeUnavailable, "retryable": true, "retryAfterMs": gqlidem.RetryAfter.Milliseconds(),
		}
	default:
		hidden.Message = "internal error"
		hidden.Extensions = map[string]any{"code": gqlidem.CodeInternal}
	}
	return hidden
}

// refusedArguments says whether the field never came to its resolver because its
// arguments could not be read as the types that they should have.
func refusedArguments(ctx context.Context) bool {
	fc := graphql.GetFieldContext(ctx)
	return fc != nil && fc.Args == nil && fc.Field.Field != nil && len(fc.Field.Definition.Arguments) > 0
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
	return errors.As(err, new(*pgconn.ConnectError)) || pgconn.SafeToRetry(err) || pgconn.Timeout(err)
}

// log writes what the client is not told.
func (p Presenter) log(ctx context.Context, code any, err error) {
	attributes := []any{"code", code, "requestId", requestid.From(ctx), "path", graphql.GetPath(ctx).String(), "err", Describe(cause(err))}
	var panicked *idempotency.PanicError
	if errors.As(err, &panicked) {
		attributes = append(attributes, "stack", string(panicked.Stack))
	}
	if code == gqlidem.CodeInternal {
		p.Log.ErrorContext(ctx, "a field failed", attributes...)
	} else {
		p.Log.WarnContext(ctx, "a field is unavailable", attributes...)
	}
}

// Describe says for a log what an error is about. An error of Postgres may quote
// a payload in its message and its detail: its code, its table and its
// constraint say enough.
func Describe(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return fmt.Sprintf("SQLSTATE %s, table %q, constraint %q", pgErr.Code, pgErr.TableName, pgErr.ConstraintName)
	}
	return err.Error()
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
func (p Presenter) Recover(ctx context.Context, value any) error {
	// gqlparser reads the numbers of a document only when a field is resolved,
	// and panics over one that 64 bits can't hold.
	if outOfRange, ok := value.(*strconv.NumError); ok && refusedArguments(ctx) {
		return badInput("the number %.40s is out of range", outOfRange.Num)
	}
	return &idempotency.PanicError{Value: value, Stack: debug.Stack()}
}
