package transport_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/99designs/gqlgen/graphql/handler/extension"
	"github.com/99designs/gqlgen/graphql/handler/lru"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/onceql/onceql/graph/generated"
	"github.com/onceql/onceql/graph/model"
	"github.com/onceql/onceql/graph/transport"
)

// A server is a gqlgen server whose only transport is the one under test.
type server struct {
	*handler.Server
	// runs counts the fields that were resolved.
	runs atomic.Int64
	// params are the last request's, as gqlgen got them.
	params atomic.Pointer[graphql.RawParams]
}

func newServer(t graphql.Transport) *server {
	s := &server{}
	s.Server = handler.New(generated.NewExecutableSchema(generated.Config{Resolvers: &resolver{runs: &s.runs}}))
	s.AddTransport(t)
	s.SetQueryCache(lru.New[*ast.QueryDocument](10))
	s.Use(extension.Introspection{})
	s.Use(observer{s})
	s.SetRecoverFunc(func(context.Context, any) error { return errors.New("a panic") })
	s.SetErrorPresenter(func(ctx context.Context, err error) *gqlerror.Error {
		presented := *graphql.DefaultErrorPresenter(ctx, err)
		presented.Extensions = maps.Clone(presented.Extensions)
		if presented.Extensions == nil {
			presented.Extensions = map[string]any{}
		}
		presented.Extensions["requestId"] = "the request"
		return &presented
	})
	return s
}

// An observer notes what gqlgen is given.
type observer struct{ server *server }

func (observer) ExtensionName() string                   { return "observer" }
func (observer) Validate(graphql.ExecutableSchema) error { return nil }

func (o observer) MutateOperationParameters(_ context.Context, params *graphql.RawParams) *gqlerror.Error {
	o.server.params.Store(params)
	return nil
}

type resolver struct{ runs *atomic.Int64 }

func (r *resolver) Mutation() generated.MutationResolver { return mutations{r} }
func (r *resolver) Query() generated.QueryResolver       { return queries{r} }

type mutations struct{ *resolver }

func (m mutations) CreateProject(_ context.Context, input model.CreateProjectInput, _ string) (*model.CreateProjectPayload, error) {
	m.runs.Add(1)
	return &model.CreateProjectPayload{Project: &model.Project{ID: "1", Name: input.Name, Description: input.Description}}, nil
}

func (m mutations) UpdateProject(context.Context, model.UpdateProjectInput, string) (*model.UpdateProjectPayload, error) {
	m.runs.Add(1)
	panic("the resolver panics")
}

func (m mutations) ArchiveProject(context.Context, model.ArchiveProjectInput, string) (*model.ArchiveProjectPayload, error) {
	m.runs.Add(1)
	return nil, nil
}

func (m mutations) UnarchiveProject(context.Context, model.UnarchiveProjectInput, string) (*model.UnarchiveProjectPayload, error) {
	m.runs.Add(1)
	return nil, nil
}

type queries struct{ *resolver }

func (q queries) Project(ctx context.Context, id string) (*model.Project, error) {
	q.runs.Add(1)
	if sizes, ok := strings.CutPrefix(id, "read "); ok {
		size, total, _ := strings.Cut(sizes, " of ")
		n, _ := strconv.Atoi(size)
		most, _ := strconv.Atoi(total)
		if err := transport.Reserve(ctx, func() int64 { return int64(most) }); err != nil {
			return nil, err
		}
		if err := transport.Read(ctx, int64(n)); err != nil {
			return nil, err
		}
		return &model.Project{ID: id, Name: strings.Repeat("x", n)}, nil
	}
	return &model.Project{ID: id, Name: "a <project> & \u2028"}, nil
}

func (q queries) Projects(context.Context, int32, *string, bool) (*model.ProjectConnection, error) {
	q.runs.Add(1)
	return nil, errors.New("no projects for now")
}

func (q queries) IdempotentCalls(context.Context, int32, *string, *string, *time.Time, *time.Time, *string) (*model.IdempotentCallConnection, error) {
	return &model.IdempotentCallConnection{}, nil
}

func (q queries) IdempotentCall(context.Context, string) (*model.IdempotentCall, error) {
	q.runs.Add(1)
	return nil, nil
}

const (
	applicationJSON = "application/json"
	graphqlResponse = "application/graphql-response+json"
	createProject   = `mutation($n: String!) { createProject(input: {name: $n}, idempotencyKey: \"k\") { project { id name } } }`
)

// post makes a POST of JSON; header holds names and values in turn.
func post(body string, header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/graphql", strings.NewReader(body))
	r.Header.Set("Content-Type", applicationJSON)
	return with(r, header)
}

// get makes a request without a body.
func get(method, query string, header ...string) *http.Request {
	r := httptest.NewRequest(method, "/graphql", http.NoBody)
	r.URL.RawQuery = query
	return with(r, header)
}

func with(r *http.Request, header []string) *http.Request {
	for i := 0; i < len(header); i += 2 {
		if header[i+1] == "" {
			r.Header.Del(header[i])
		} else {
			r.Header.Add(header[i], header[i+1])
		}
	}
	return r
}

// A body is a response of GraphQL.
type body struct {
	Errors []struct {
		Message    string
		Extensions map[string]any
	}
	Data       json.RawMessage
	Extensions map[string]any
}

// code is that of the first error.
func (b body) code() string {
	if len(b.Errors) == 0 {
		return ""
	}
	code, _ := b.Errors[0].Extensions["code"].(string)
	return code
}

// do sends a request and checks what every answer has in common.
func (s *server) do(t *testing.T, r *http.Request) (*httptest.ResponseRecorder, body) {
	t.Helper()
	w := &recorder{ResponseRecorder: httptest.NewRecorder()}
	s.ServeHTTP(w, r)
	header := w.Header()
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Vary": "Accept",
	} {
		if got := header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	var answer body
	if r.Method == http.MethodOptions || r.Method == http.MethodHead {
		if w.Body.Len() > 0 {
			t.Errorf("%s was answered with a body: %s", r.Method, w.Body)
		}
		return w.ResponseRecorder, answer
	}
	if w.writes != 1 {
		t.Errorf("the body came in %d writes", w.writes)
	}
	if got, want := header.Get("Content-Length"), strconv.Itoa(w.Body.Len()); got != want {
		t.Errorf("Content-Length is %q for a body of %s bytes", got, want)
	}
	if got := header.Get("Content-Type"); !strings.HasSuffix(got, "; charset=utf-8") {
		t.Errorf("Content-Type is %q", got)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Fatalf("the body is not JSON: %v: %s", err, w.Body)
	}
	for _, failure := range answer.Errors {
		if failure.Extensions["requestId"] != "the request" {
			t.Errorf("an error did not pass the presenter: %s", w.Body)
		}
	}
	return w.ResponseRecorder, answer
}

// A recorder counts writes.
type recorder struct {
	*httptest.ResponseRecorder
	writes int
}

func (r *recorder) Write(b []byte) (int, error) {
	r.writes++
	return r.ResponseRecorder.Write(b)
}
