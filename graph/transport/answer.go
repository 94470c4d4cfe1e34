package transport

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/onceql/onceql/idempotency/gqlidem"
)

const (
	applicationJSON = "application/json"
	graphqlResponse = "application/graphql-response+json"
)

// An answer is the response to one request.
type answer struct {
	w    http.ResponseWriter
	r    *http.Request
	exec graphql.GraphExecutor
	// strict is whether the media type lets the status tell of errors in the
	// document.
	strict bool
	// timeout is how long it may take to be written, zero as long as the server says.
	timeout time.Duration
	// work ends once the answer is made: a client may take it slowly.
	work turn
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
	if refusal.text != "" {
		WriteText(a.w, refusal.status, refusal.text)
		return
	}
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

// maxErrors is how many errors of one document are told. Each field of a document may
// have one of its own.
const maxErrors = 20

// requestErrors answers a document that can't be executed.
func (a *answer) requestErrors(ctx context.Context, errs gqlerror.List) {
	if more := len(errs) - maxErrors; more > 0 {
		rest := gqlerror.Errorf("%d more errors are not listed", more)
		rest.Extensions = maps.Clone(errs[maxErrors].Extensions)
		errs = append(errs[:maxErrors:maxErrors], rest)
	}
	status := http.StatusOK
	if a.strict {
		status = http.StatusBadRequest
	}
	a.write(ctx, status, present(ctx, a.exec, errs...), false)
}

// executed answers an operation that ran. gqlgen has no response when the request
// was cancelled before it ran. An answer for which there is no memory is lost: a mutation's
// is replayed under the same key.
func (a *answer) executed(ctx context.Context, response *graphql.Response, allowance *allowance) {
	if response == nil {
		a.refuse(refuse(http.StatusServiceUnavailable, gqlidem.CodeUnavailable, "the request ended before its outcome was known"))
		return
	}
	if !allowance.cover(ctx, int64(len(response.Data))) {
		a.w.Header().Del(gqlidem.HeaderReplayed)
		a.refuse(busy)
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

// write sends the answer, a small one at once, with its length. Interceptors have set their
// headers by now.
func (a *answer) write(ctx context.Context, status int, response *graphql.Response, withData bool) {
	body, err := encode(response, withData)
	if err != nil {
		status = http.StatusInternalServerError
		body = [][]byte{a.encodeFailure(ctx, fmt.Errorf("encoding the response: %w", err))}
	}
	a.work.end()
	if status == http.StatusServiceUnavailable {
		SetRetryAfter(a.w.Header())
	}
	length := 0
	for _, part := range body {
		length += len(part)
	}
	if length <= smallAnswer {
		body = [][]byte{bytes.Join(body, nil)}
	}
	a.w.Header().Set("Content-Length", strconv.Itoa(length))
	if a.timeout > 0 { // A writer that knows no deadlines is bounded by nobody.
		_ = http.NewResponseController(a.w).SetWriteDeadline(time.Now().Add(a.timeout))
	}
	a.w.WriteHeader(status)
	if a.r.Method == http.MethodHead {
		return
	}
	for _, part := range body {
		// The client may be gone; nobody is left to tell.
		if _, err := a.w.Write(part); err != nil { //nolint:gosec // JSON, which its type and nosniff keep from being taken for HTML.
			return
		}
	}
}

// encodeFailure is the body in place of one that can't be encoded.
func (a *answer) encodeFailure(ctx context.Context, err error) []byte {
	if a.exec != nil {
		presented := present(ctx, a.exec, internal(err))
		presented.Extensions = nil
		if body, err := encode(presented, false); err == nil {
			return bytes.Join(body, nil)
		}
	}
	body, _ := encode(&graphql.Response{Errors: gqlerror.List{internal(nil)}}, false)
	return bytes.Join(body, nil)
}

// encode puts a response into the form of the specification, in parts. The data is JSON
// already: it is neither read again nor copied.
func encode(response *graphql.Response, withData bool) ([][]byte, error) {
	head, data, tail := []byte{'{'}, []byte(nil), []byte(nil)
	if len(response.Errors) > 0 {
		errs, err := json.Marshal(response.Errors)
		if err != nil {
			return nil, err
		}
		head = append(append(append(head, `"errors":`...), errs...), ',')
	}
	if withData {
		head, data, tail = append(head, `"data":`...), response.Data, []byte{','}
		if len(data) == 0 {
			data = []byte("null")
		}
	}
	if len(response.Extensions) > 0 {
		extensions, err := json.Marshal(response.Extensions)
		if err != nil {
			return nil, err
		}
		tail = append(append(tail, `"extensions":`...), extensions...)
	} else {
		tail = nil
		if !withData {
			head = bytes.TrimSuffix(head, []byte{','})
		}
	}
	return [][]byte{head, data, append(tail, '}')}, nil
}

// preference is how much a client wants one media type.
type preference struct {
	quality  float64
	specific int // of the range that decided: 1 for */*, 2 for application/*, 3 for the type itself
	position int // of that range in the header
}

func (p preference) over(other preference) bool {
	if p.quality != other.quality {
		return p.quality > other.quality
	}
	if p.specific != other.specific {
		return p.specific > other.specific
	}
	return p.position < other.position
}

// negotiate returns the media type to answer with: the one of the highest
// q-value, among equals the one that is named, among those the one that is named
// first. Without the header it is application/json, as it is for clients that
// know nothing of the other. A range that can't be read is passed
// over.
func negotiate(accept []string) (mediaType string, ok bool) {
	header := strings.Join(accept, ",")
	if strings.TrimSpace(header) == "" || header == "*/*" || header == applicationJSON {
		return applicationJSON, true
	}
	var plain, response preference
	position := 0
	for field := range elements(header) {
		position++
		name, quality, ok := parseRange(field)
		if !ok {
			continue
		}
		switch name {
		case "*/*":
			plain.meet(preference{quality, 1, position})
			response.meet(preference{quality, 1, position})
		case "application/*":
			plain.meet(preference{quality, 2, position})
			response.meet(preference{quality, 2, position})
		case applicationJSON:
			plain.meet(preference{quality, 3, position})
		case graphqlResponse:
			response.meet(preference{quality, 3, position})
		}
	}
	switch {
	case response.quality > 0 && response.over(plain):
		return graphqlResponse, true
	case plain.quality > 0:
		return applicationJSON, true
	}
	return "", false
}

// meet lets the most specific range decide, and of equal ones that of the highest quality.
func (p *preference) meet(other preference) {
	if other.specific > p.specific || other.specific == p.specific && other.quality > p.quality {
		*p = other
	}
}

// parseRange reads one media range. One with another charset than UTF-8 asks for
// what can't be had.
func parseRange(field string) (name string, quality float64, ok bool) {
	name, parameters, err := mime.ParseMediaType(field)
	if err != nil {
		return "", 0, false
	}
	if charset, set := parameters["charset"]; set && !strings.EqualFold(charset, "utf-8") {
		return "", 0, false
	}
	q, set := parameters["q"]
	if !set {
		return name, 1, true
	}
	if !isQuality(q) {
		return "", 0, false
	}
	quality, err = strconv.ParseFloat(q, 64)
	return name, quality, err == nil
}

// isQuality matches RFC 9110's qvalue: 0 to 1, at most three decimals.
func isQuality(q string) bool {
	whole, decimals, _ := strings.Cut(q, ".")
	if whole != "0" && whole != "1" || len(decimals) > 3 {
		return false
	}
	for _, digit := range decimals {
		if digit < '0' || digit > '9' || whole == "1" && digit != '0' {
			return false
		}
	}
	return true
}

// elements splits a header's list at the commas that are not in quotes.
func elements(header string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		start, quoted := 0, false
		for i := 0; i < len(header); i++ {
			switch {
			case quoted && header[i] == '\\':
				i++
			case header[i] == '"':
				quoted = !quoted
			case header[i] == ',' && !quoted:
				if !yield(header[start:i]) {
					return
				}
				start = i + 1
			}
		}
		yield(header[start:])
	}
}
