// Package transport serves GraphQL over HTTP, as the GraphQL-over-HTTP
// specification has it: the audit suite of npm's graphql-http passes in full. Where
// the specification's edition of September 2026 asks for other statuses than those
// audits (294 for data with errors, 422 for what is not valid), the audits are
// followed.
//
//	server := handler.New(schema)
//	server.AddTransport(transport.Transport{})
//
// It is the only transport that a server needs. It guarantees that
//
//   - a request that is not exactly what it should be is refused before anything
//     runs: duplicate members, invalid UTF-8, lone surrogates and trailing data
//     in JSON, other media types and charsets, bodies over the limit
//   - a mutation runs for a POST of application/json only, which a page of
//     another site can't send without asking first
//   - every answer is JSON, its errors made by the server's error presenter; what
//     the transport itself refuses never quotes the request
//   - numbers come to the scalars as they were sent, of type json.Number
//
// Subscriptions, batches, multipart requests, compressed bodies and persisted
// queries are not served. A request for a persisted query is told so in the form that
// makes clients send the document; with a document, the hash is passed over.
package transport

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/onceql/onceql/internal/fair"
)

// Transport answers GET, HEAD, POST and OPTIONS.
type Transport struct {
	// MaxBody is the size of the largest request body, in bytes. Zero means
	// DefaultMaxBody.
	MaxBody int64
	// MaxValues is how many JSON values a body, or a parameter of a query string, may
	// have, objects and lists among them: each takes memory however short it is. Zero
	// means DefaultMaxValues.
	MaxValues int
	// MaxAnswer is how many bytes of strings a query may read for its answer, as JSON has
	// them. Its fields tell what they read, with Read. Zero means DefaultMaxAnswer.
	MaxAnswer int64
	// Bodies has the memory for bodies that are not small, in bytes, Answers the memory for
	// answers that are not, and Decoding how many requests are decoded and validated at
	// once. Tenants share each. Nil does not bound them.
	Bodies, Answers, Decoding *fair.Gate
	// AnswerTimeout is how long an answer may take to be written, from its beginning. Zero
	// leaves that to the server. The server needs a WriteTimeout, with which each request
	// on a connection begins anew.
	AnswerTimeout time.Duration
	// Working bounds how many requests of one tenant are at work at once: from when their
	// body was read until their answer is made. Nil does not bound them.
	Working *fair.Cap
	// Tenant says whose request a context belongs to. Nil means that all are of one tenant.
	Tenant func(context.Context) (string, error)
	// Busy is told of each request that is refused because it waited in vain for its share.
	// Nil tells nobody.
	Busy func(context.Context)
}

var _ graphql.Transport = Transport{}

// DefaultMaxBody is 1 MiB.
const DefaultMaxBody = 1 << 20

// DefaultMaxValues is far more than a document of the default limits can use.
const DefaultMaxValues = 10_000

const allMethods = "GET, HEAD, POST, OPTIONS"

// Supports says yes to every request: what the transport does not serve it
// refuses, with the status that says so.
func (Transport) Supports(*http.Request) bool { return true }

// Do answers one request.
func (t Transport) Do(w http.ResponseWriter, r *http.Request, exec graphql.GraphExecutor) {
	answer := newAnswer(w, r, exec)
	answer.timeout = t.AnswerTimeout
	defer answer.work.end()
	defer func() {
		if value := recover(); value != nil {
			answer.panicked(value)
		}
	}()
	if r.Method == http.MethodOptions {
		answer.options()
		return
	}
	// A large body's memory is taken until all of the request is done.
	var memory turn
	defer memory.end()
	operation, errs, refusal := t.operation(w, r, &answer, &memory)
	if refusal != nil {
		answer.refuse(refusal)
		return
	}
	ctx := graphql.WithOperationContext(r.Context(), operation)
	if len(errs) > 0 {
		answer.requestErrors(ctx, errs)
		return
	}
	if refusal := unservable(r, operation.Operation); refusal != nil {
		answer.refuse(refusal)
		return
	}
	// A large answer's memory is taken as it is read, and until it is written.
	allowance := t.allowance()
	defer allowance.end()
	run, ctx := exec.DispatchOperation(context.WithValue(ctx, allowanceKey{}, allowance), operation)
	answer.executed(ctx, run(ctx), allowance)
}

// operation returns what the client asks for, decoded and validated, and sets the media type
// of the answer.
func (t Transport) operation(w http.ResponseWriter, r *http.Request, answer *answer, memory *turn) (*graphql.OperationContext, gqlerror.List, *refusal) {
	start := graphql.Now()
	refusal := accept(r, answer)
	if refusal != nil {
		return nil, nil, refusal
	}
	var body *bytes.Buffer
	if r.Method == http.MethodPost {
		if body, refusal = t.readBody(w, r, memory); refusal != nil {
			return nil, nil, refusal
		}
	}
	if answer.work, refusal = t.work(r.Context()); refusal != nil {
		return nil, nil, refusal
	}
	decoding, refusal := t.take(r.Context(), t.Decoding, 1)
	if refusal != nil {
		return nil, nil, refusal
	}
	defer decoding.end()
	var params *graphql.RawParams
	if body != nil {
		params, refusal = decodeBody(body, t.maxValues())
	} else {
		params, refusal = readQuery(r.URL.RawQuery, t.maxValues())
	}
	if refusal != nil {
		return nil, nil, refusal
	}
	params.Headers = r.Header
	params.ReadTime = graphql.TraceTiming{Start: start, End: graphql.Now()}
	operation, errs := answer.exec.CreateOperationContext(r.Context(), params)
	return operation, errs, nil
}

// accept refuses requests that are not GraphQL over HTTP, and sets the media type of the
// answer.
func accept(r *http.Request, answer *answer) *refusal {
	if r.Method != http.MethodPost && r.Method != http.MethodGet && r.Method != http.MethodHead {
		return badInput(http.StatusMethodNotAllowed, "GraphQL is served for GET and POST").header("Allow", allMethods)
	}
	if upgradesToWebsocket(r) {
		return badInput(http.StatusBadRequest, "WebSockets are not served")
	}
	mediaType, ok := negotiate(r.Header.Values("Accept"))
	if !ok {
		return badInput(http.StatusNotAcceptable, "the answer is "+graphqlResponse+" or "+applicationJSON)
	}
	answer.mediaType(mediaType)
	return nil
}

// unservable refuses a valid operation that this request must not run.
func unservable(r *http.Request, operation *ast.OperationDefinition) *refusal {
	switch {
	case operation.Operation == ast.Query:
		return nil
	case r.Method != http.MethodPost:
		return badInput(http.StatusMethodNotAllowed, "GET serves queries; send a mutation by POST").header("Allow", http.MethodPost)
	case operation.Operation == ast.Subscription:
		return badInput(http.StatusBadRequest, "subscriptions are not served")
	}
	return nil
}

// upgradesToWebsocket leaves an offer of h2c alone, which curl makes with
// --http2 and a server may ignore.
func upgradesToWebsocket(r *http.Request) bool {
	for _, value := range r.Header.Values("Upgrade") {
		if strings.Contains(strings.ToLower(value), "websocket") {
			return true
		}
	}
	return false
}

// present makes errors fit to send.
func present(ctx context.Context, exec graphql.GraphExecutor, errs ...*gqlerror.Error) *graphql.Response {
	response := exec.DispatchError(ctx, errs)
	if response == nil {
		response = &graphql.Response{Errors: errs}
	}
	response.Data = nil
	return response
}
