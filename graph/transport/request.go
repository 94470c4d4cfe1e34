package transport

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/99designs/gqlgen/graphql"
)

// The members of a request's body, and the parameters of its query string.
const (
	memberQuery         = "query"
	memberOperationName = "operationName"
	memberVariables     = "variables"
	memberExtensions    = "extensions"
)

// bufferAtOnce is how much is set aside for a body on the client's word alone.
const bufferAtOnce = 64 << 10

func (t Transport) readBody(w http.ResponseWriter, r *http.Request) (*graphql.RawParams, *refusal) {
	if refusal := checkContent(r.Header); refusal != nil {
		return nil, refusal
	}
	limit := t.MaxBody
	if limit == 0 {
		limit = DefaultMaxBody
	}
	if r.ContentLength > limit {
		drain(r)
		return nil, tooLarge(limit)
	}
	var body bytes.Buffer
	body.Grow(int(min(max(r.ContentLength, 0), bufferAtOnce)) + bytes.MinRead)
	if _, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, limit)); err != nil {
		if errors.As(err, new(*http.MaxBytesError)) {
			drain(r)
			return nil, tooLarge(limit)
		}
		return nil, badInput(http.StatusBadRequest, "the body ended early")
	}
	return decodeBody(&body)
}

// drained is how much of a body that is too large is read to its end. A client that
// is still sending when the connection closes mostly never sees the answer.
const drained = 32 << 20

func drain(r *http.Request) {
	if r.ContentLength <= drained && r.Header.Get("Expect") == "" { // Who asks first is told before.
		_, _ = io.CopyN(io.Discard, r.Body, drained)
	}
}

// checkContent refuses every body but plain JSON in UTF-8. The media type is also
// what keeps other sites' forms out: a browser sends application/json to another
// origin only after asking it.
func checkContent(header http.Header) *refusal {
	for _, coding := range header.Values("Content-Encoding") {
		if !strings.EqualFold(strings.TrimSpace(coding), "identity") {
			return badInput(http.StatusUnsupportedMediaType, "the body must not be compressed or otherwise encoded").
				header("Accept-Encoding", "identity")
		}
	}
	types := header.Values("Content-Type")
	if len(types) == 1 && types[0] == applicationJSON {
		return nil
	}
	if len(types) == 1 {
		mediaType, parameters, err := mime.ParseMediaType(types[0])
		charset, set := parameters["charset"]
		if err == nil && mediaType == applicationJSON && (!set || strings.EqualFold(charset, "utf-8")) {
			return nil
		}
	}
	return badInput(http.StatusUnsupportedMediaType, "the body must be "+applicationJSON+" in UTF-8, and its Content-Type must say so")
}

// readQuery reads the query string of a GET.
func readQuery(raw string) (*graphql.RawParams, *refusal) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, badInput(http.StatusBadRequest, "the query string is malformed")
	}
	for _, name := range []string{memberQuery, memberOperationName, memberVariables, memberExtensions} {
		given := values[name]
		if len(given) > 1 {
			return nil, badInput(http.StatusBadRequest, "the parameter `"+name+"` occurs twice")
		}
		if len(given) == 1 && !utf8.ValidString(given[0]) {
			return nil, badInput(http.StatusBadRequest, "the parameter `"+name+"` is not valid UTF-8")
		}
	}
	if !values.Has(memberQuery) {
		return nil, badInput(http.StatusBadRequest, "the parameter `query` is required")
	}
	params := &graphql.RawParams{Query: values.Get(memberQuery), OperationName: values.Get(memberOperationName)}
	var refusal *refusal
	if params.Variables, refusal = readParameter(values, memberVariables); refusal != nil {
		return nil, refusal
	}
	if params.Extensions, refusal = readParameter(values, memberExtensions); refusal != nil {
		return nil, refusal
	}
	return params, nil
}

// readParameter takes an empty parameter for an absent one, as the specification
// does since its edition of September 2026.
func readParameter(values url.Values, name string) (map[string]any, *refusal) {
	text := values.Get(name)
	if text == "" {
		return nil, nil
	}
	return decodeParameter(name, text)
}
