package transport_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql"

	"github.com/onceql/onceql/graph/transport"
	"github.com/onceql/onceql/idempotency/gqlidem"
)

func TestDo_LeavesDataOutOfRequestErrors(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ request, code string }{
		"an empty document":     {`{"query":""}`, "GRAPHQL_VALIDATION_FAILED"},
		"only a comment":        {`{"query":"# nothing"}`, "GRAPHQL_VALIDATION_FAILED"},
		"a syntax error":        {`{"query":"{"}`, "GRAPHQL_PARSE_FAILED"},
		"an unknown field":      {`{"query":"{ nothing }"}`, "GRAPHQL_VALIDATION_FAILED"},
		"an unknown operation":  {`{"query":"query a { __typename }","operationName":"b"}`, "GRAPHQL_VALIDATION_FAILED"},
		"no operation named":    {`{"query":"query a { __typename } query b { __typename }"}`, "GRAPHQL_VALIDATION_FAILED"},
		"a variable is missing": {`{"query":"` + createProject + `"}`, "GRAPHQL_VALIDATION_FAILED"},
		"a variable is null":    {`{"query":"` + createProject + `","variables":{"n":null}}`, "GRAPHQL_VALIDATION_FAILED"},
		"a variable of another type": {
			`{"query":"` + createProject + `","variables":{"n":{"a":1}}}`, "GRAPHQL_VALIDATION_FAILED",
		},
		"a subscription that no schema has": {`{"query":"subscription { a }"}`, "GRAPHQL_VALIDATION_FAILED"},
	} {
		for accept, status := range map[string]int{applicationJSON: 200, graphqlResponse: 400, "": 200} {
			t.Run(name+" "+accept, func(t *testing.T) {
				t.Parallel()
				s := newServer(transport.Transport{})
				w, answer := s.do(t, post(test.request, "Accept", accept))
				if w.Code != status || answer.code() != test.code {
					t.Errorf("%d %q, want %d %q: %s", w.Code, answer.code(), status, test.code, w.Body)
				}
				if strings.Contains(w.Body.String(), `"data"`) || s.runs.Load() != 0 {
					t.Errorf("%s after %d runs", w.Body, s.runs.Load())
				}
			})
		}
	}
}

func TestDo_AnswersWhatRanWithData(t *testing.T) {
	t.Parallel()
	for request, test := range map[string]struct {
		data string
		errs int
	}{
		`{"query":"{ project(id: 7) { id name } }"}`:                                                       {`{"project":{"id":"7","name":"a <project> & ` + "\u2028" + `"}}`, 0},
		`{"query":"` + createProject + `","variables":{"n":"x"}}`:                                          {`{"createProject":{"project":{"id":"1","name":"x"}}}`, 0},
		`{"query":"{ projects { nodes { id } } }"}`:                                                        {`null`, 1},
		`{"query":"{ a: idempotentCall(key: \"1\") { key } }"}`:                                            {`{"a":null}`, 0},
		`{"query":"mutation { updateProject(input: {id: 1}, idempotencyKey: \"k\") { project { id } } }"}`: {`{"updateProject":null}`, 1},
	} {
		for _, accept := range []string{applicationJSON, graphqlResponse} {
			t.Run(request+" "+accept, func(t *testing.T) {
				t.Parallel()
				s := newServer(transport.Transport{})
				w, answer := s.do(t, post(request, "Accept", accept))
				if w.Code != http.StatusOK || s.runs.Load() != 1 {
					t.Errorf("%d after %d runs: %s", w.Code, s.runs.Load(), w.Body)
				}
				data := string(answer.Data)
				if !strings.Contains(w.Body.String(), `"data":`) || strings.ReplaceAll(data, `\u2028`, "\u2028") != test.data || len(answer.Errors) != test.errs {
					t.Errorf("%s, want data %s and %d errors", w.Body, test.data, test.errs)
				}
			})
		}
	}
}

func TestDo_AnswersACancelledRequestWith503(t *testing.T) {
	t.Parallel()
	for _, r := range []*http.Request{
		post(`{"query":"` + createProject + `","variables":{"n":"secret"}}`),
		get(http.MethodGet, "query={project(id:1){id}}"),
	} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		s := newServer(transport.Transport{})
		w, answer := s.do(t, r.WithContext(ctx))
		if w.Code != http.StatusServiceUnavailable || answer.code() != "UNAVAILABLE" || answer.Errors[0].Extensions["retryable"] != true {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if answer.Errors[0].Extensions["retryAfterMs"] != float64(gqlidem.RetryAfter.Milliseconds()) {
			t.Errorf("it may be sent again after another time than elsewhere: %s", w.Body)
		}
		if w.Header().Get("Retry-After") != "1" || answer.Data != nil || s.runs.Load() != 0 {
			t.Errorf("%v %s after %d runs", w.Header(), w.Body, s.runs.Load())
		}
	}
}

// respond is an interceptor of responses.
type respond func(ctx context.Context, next graphql.ResponseHandler) *graphql.Response

func (respond) ExtensionName() string                   { return "respond" }
func (respond) Validate(graphql.ExecutableSchema) error { return nil }
func (f respond) InterceptResponse(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
	return f(ctx, next)
}

func TestDo_WritesHeadersAfterTheOperation(t *testing.T) {
	t.Parallel()
	s := newServer(transport.Transport{})
	w := httptest.NewRecorder()
	s.Use(respond(func(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
		response := next(ctx)
		w.Header().Set("Idempotency-Replayed", "true")
		response.Extensions = map[string]any{"idempotency": map[string]any{"a": "REPLAYED"}}
		return response
	}))
	w.Header().Set("Vary", "Origin")
	s.ServeHTTP(w, post(`{"query":"{ __typename }"}`))
	if got := w.Result().Header.Get("Idempotency-Replayed"); got != "true" {
		t.Errorf("the interceptor's header is lost: %v", w.Result().Header)
	}
	if got := strings.Join(w.Result().Header.Values("Vary"), ","); got != "Origin,Accept" {
		t.Errorf("Vary is %q", got)
	}
	if got, want := w.Body.String(), `{"data":{"__typename":"Query"},"extensions":{"idempotency":{"a":"REPLAYED"}}}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestDo_GivesInterceptorsAnOperationContextForRefusals(t *testing.T) {
	t.Parallel()
	s := newServer(transport.Transport{})
	s.Use(respond(func(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
		if graphql.GetOperationContext(ctx).Headers.Get("X-Of-The-Client") != "1" {
			t.Error("the operation context has no headers")
		}
		return next(ctx)
	}))
	refused(t, s, post("secret", "X-Of-The-Client", "1"), http.StatusBadRequest, "BAD_USER_INPUT")
}

func TestDo_AnswersEvenWhenInterceptorsDoNot(t *testing.T) {
	t.Parallel()
	s := newServer(transport.Transport{})
	s.Use(respond(func(context.Context, graphql.ResponseHandler) *graphql.Response { return nil }))
	for request, want := range map[string]int{`{"query":1}`: 400, `{"query":"{ __typename }"}`: 503, `{"query":"{"}`: 200} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, post(request))
		if w.Code != want || !strings.HasPrefix(w.Body.String(), `{"errors":[{`) || strings.Contains(w.Body.String(), "data") {
			t.Errorf("%s: %d %s", request, w.Code, w.Body)
		}
	}
}

func TestDo_HidesWhatCannotBeWrittenAsJSON(t *testing.T) {
	t.Parallel()
	s := newServer(transport.Transport{})
	s.Use(respond(func(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
		response := next(ctx)
		response.Extensions = map[string]any{"secret": func() {}}
		return response
	}))
	w, answer := s.do(t, post(`{"query":"{ __typename }"}`))
	if w.Code != http.StatusInternalServerError || answer.code() != "INTERNAL" || answer.Data != nil || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestDo_AnswersPanics(t *testing.T) {
	t.Parallel()
	for _, accept := range []string{applicationJSON, graphqlResponse} {
		s := newServer(transport.Transport{})
		s.Use(respond(func(context.Context, graphql.ResponseHandler) *graphql.Response { panic("secret") }))
		w, answer := s.do(t, post(`{"query":"{ __typename }"}`, "Accept", accept))
		if w.Code != http.StatusInternalServerError || len(answer.Errors) != 1 || strings.Contains(w.Body.String(), "data") ||
			strings.Contains(w.Body.String(), "secret") || w.Header().Get("Content-Type") != accept+"; charset=utf-8" {
			t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
		}
	}
}
