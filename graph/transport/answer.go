package transport

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/onceql/onceql/idempotency/gqlidem"
)

// An answer is the response to one request.
type answer struct {
	w    http.ResponseWriter
	r    *http.Request
	exec graphql.GraphExecutor
	// strict is whether the media type lets the status tell of errors in the
	// document.
	strict bool
}

// newAnswer sets the headers that every answer has, so that one to a panic has
// them too.
func newAnswer(w http.ResponseWriter, r *http.Request, exec graphql.GraphExecutor) answer {
	header := w.Header()
	header.Set("Content-Type", applicationJSON+"; charset=utf-8")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-store")
	header.Add("Vary", "Accept")
	return answer{w: w, r: r, exec: exec}
}

func (a *answer) mediaType(mediaType string) {
	a.strict = mediaType == graphqlResponse
	a.w.Header().Set("Content-Type", mediaType+"; charset=utf-8")
}

func (a *answer) options() {
	a.w.Header().Del("Content-Type")
	a.w.Header().Set("Allow", allMethods)
	a.w.WriteHeader(http.StatusNoContent)
}

// refuse answers a request that never came to be an operation.
func (a *answer) refuse(refusal *refusal) {
	for _, header := range refusal.headers {
		a.w.Header().Set(header[0], header[1])
	}
	ctx := a.r.Context()
	if !graphql.HasOperationContext(ctx) {
		// Response interceptors may count on one.
		ctx = graphql.WithOperationContext(ctx, &graphql.OperationContext{Headers: a.r.Header})
	}
	a.write(ctx, refusal.status, present(ctx, a.exec, refusal.err), false)
}

// requestErrors answers a document that can't be executed.
func (a *answer) requestErrors(ctx context.Context, errs gqlerror.List) {
	status := http.StatusOK
	if a.strict {
		status = http.StatusBadRequest
	}
	a.write(ctx, status, present(ctx, a.exec, errs...), false)
}

// executed answers an operation that ran. gqlgen has no response when the request
// was cancelled before it ran.
func (a *answer) executed(ctx context.Context, response *graphql.Response) {
	if response == nil {
		a.refuse(refuse(http.StatusServiceUnavailable, gqlidem.CodeUnavailable, "the request ended before its outcome was known"))
		return
	}
	a.write(ctx, http.StatusOK, response, true)
}

// panicked answers a request in which an interceptor, the parser or the validator
// panicked; gqlgen recovers from panics of resolvers itself.
func (a *answer) panicked(value any) {
	ctx := a.r.Context()
	failure := internal(nil)
	if exec, ok := a.exec.(interface {
		PresentRecoveredError(ctx context.Context, value any) error
	}); ok {
		errors.As(exec.PresentRecoveredError(ctx, value), &failure)
	}
	a.write(ctx, http.StatusInternalServerError, &graphql.Response{Errors: gqlerror.List{failure}}, false)
}

// write sends the answer at once, with its length. Interceptors have set their
// headers by now.
func (a *answer) write(ctx context.Context, status int, response *graphql.Response, withData bool) {
	body, err := encode(response, withData)
	if err != nil {
		status = http.StatusInternalServerError
		body = a.encodeFailure(ctx, fmt.Errorf("encoding the response: %w", err))
	}
	if status == http.StatusServiceUnavailable {
		SetRetryAfter(a.w.Header())
	}
	a.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	a.w.WriteHeader(status)
	if a.r.Method != http.MethodHead {
		// The client may be gone; nobody is left to tell.
		_, _ = a.w.Write(body) //nolint:gosec // JSON, which its type and nosniff keep from being taken for HTML.
	}
}

// encodeFailure is the body in place of one that can't be encoded.
func (a *answer) encodeFailure(ctx context.Context, err error) []byte {
	if a.exec != nil {
		presented := present(ctx, a.exec, internal(err))
		presented.Extensions = nil
		if body, err := encode(presented, false); err == nil {
			return body
		}
	}
	body, _ := encode(&graphql.Response{Errors: gqlerror.List{internal(nil)}}, false)
	return body
}

// encode puts a response into the form of the specification. The data is JSON
// already and is not read again.
func encode(response *graphql.Response, withData bool) ([]byte, error) {
	body := make([]byte, 0, len(response.Data)+512)
	body = append(body, '{')
	if len(response.Errors) > 0 {
		errs, err := json.Marshal(response.Errors)
		if err != nil {
			return nil, err
		}
		body = append(append(body, `"errors":`...), errs...)
		body = append(body, ',')
	}
	if withData {
		body = append(body, `"data":`...)
		if len(response.Data) == 0 {
			body = append(body, "null"...)
		}
		body = append(append(body, response.Data...), ',')
	}
	if len(response.Extensions) > 0 {
		extensions, err := json.Marshal(response.Extensions)
		if err != nil {
			return nil, err
		}
		body = append(append(body, `"extensions":`...), extensions...)
		body = append(body, ',')
	}
	return append(bytes.TrimSuffix(body, []byte{','}), '}'), nil
}
