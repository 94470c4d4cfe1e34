package transport

import (
	"io"
	"math"
	"net/http"
	"strconv"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/onceql/onceql/idempotency/gqlidem"
)

// CodeLimitExceeded is the code of requests that are larger than a limit, whose name
// they have in `extensions.limit`.
const CodeLimitExceeded = "LIMIT_EXCEEDED"

// CodePersistedQueryNotSupported is the code of requests that name a persisted query by its
// hash and send no document. Apollo's clients and urql know it, and send the document.
// https://github.com/apollographql/apollo-link-persisted-queries#protocol
const CodePersistedQueryNotSupported = "PERSISTED_QUERY_NOT_SUPPORTED"

// WriteError answers a request that something before the transport refuses, in the
// form and with the headers of the transport's own answers.
func WriteError(w http.ResponseWriter, r *http.Request, status int, err *gqlerror.Error) {
	answer := newAnswer(w, r, nil)
	if mediaType, ok := negotiate(r.Header.Values("Accept")); ok {
		answer.mediaType(mediaType)
	}
	answer.write(r.Context(), status, &graphql.Response{Errors: gqlerror.List{err}}, false)
}

// SetRetryAfter says in a header, for clients and proxies that read no body, what
// `extensions.retryAfterMs` says: it counts whole seconds.
func SetRetryAfter(header http.Header) {
	header.Set("Retry-After", strconv.Itoa(int(math.Ceil(gqlidem.RetryAfter.Seconds()))))
}

// WriteText answers in text/plain. With status 503 that is the one form that Apollo, urql and
// proxies all retry by themselves.
func WriteText(w http.ResponseWriter, status int, text string) {
	header := w.Header()
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	if status == http.StatusServiceUnavailable {
		SetRetryAfter(header)
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") //nolint:gosec // Text, which its type keeps from being taken for HTML.
}

// busy is the refusal of a request that was not its tenant's turn. Nothing of it began, but
// for a mutation whose answer has no room: its key replays it.
var busy = &refusal{status: http.StatusServiceUnavailable, text: "too many requests are waiting; try again"}

// A refusal is a request that the transport does not let through.
type refusal struct {
	status int
	// text takes the place of err where the answer is text/plain.
	text    string
	err     *gqlerror.Error
	headers [][2]string
}

func (r *refusal) header(name, value string) *refusal {
	r.headers = append(r.headers, [2]string{name, value})
	return r
}

func refuse(status int, code, message string) *refusal {
	return &refusal{status: status, err: gqlidem.NewError(code, message)}
}

func badInput(status int, message string) *refusal {
	return refuse(status, gqlidem.CodeBadUserInput, message)
}

// withoutQuery refuses a request that has no document. Apollo Server answers one for a
// persisted query in this way, with status 200.
func withoutQuery(extensions map[string]any, message string) *refusal {
	if extensions["persistedQuery"] != nil {
		return refuse(http.StatusOK, CodePersistedQueryNotSupported, "PersistedQueryNotSupported")
	}
	return badInput(http.StatusBadRequest, message)
}

func tooLarge(limit int64) *refusal {
	refusal := refuse(http.StatusRequestEntityTooLarge, CodeLimitExceeded, "the body is larger than "+strconv.FormatInt(limit, 10)+" bytes")
	refusal.err.Extensions["limit"] = "body"
	return refusal
}

func tooManyValues(what string, limit int) *refusal {
	refusal := refuse(http.StatusRequestEntityTooLarge, CodeLimitExceeded, what+" has more than "+strconv.Itoa(limit)+" values")
	refusal.err.Extensions["limit"] = "values"
	return refusal
}

// internal is an error of which the client is told nothing but its code.
func internal(err error) *gqlerror.Error {
	failure := gqlidem.NewError(gqlidem.CodeInternal, "internal error")
	failure.Err = err
	return failure
}
