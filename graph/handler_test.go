package graph_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/db"
	"github.com/onceql/onceql/graph"
	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/idempotency/gqlidem"
	"github.com/onceql/onceql/internal/pgtest"
	"github.com/onceql/onceql/internal/requestid"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// An api is the handler of /graphql on a database of its own.
type api struct {
	http.Handler
	pool *pgxpool.Pool
	log  *lines
}

func newAPI(t testing.TB) *api {
	t.Helper()
	return newAPIOn(t, pgtest.Pool(t))
}

func newAPIOn(t testing.TB, pool *pgxpool.Pool) *api {
	t.Helper()
	return makeAPI(t, pool, graph.Config{})
}

func newAPIWith(t testing.TB, limits graph.Limits) *api {
	t.Helper()
	return makeAPI(t, pgtest.Pool(t), graph.Config{Limits: limits})
}

// makeAPI makes an api with a log of its own.
func makeAPI(t testing.TB, pool *pgxpool.Pool, config graph.Config) *api {
	t.Helper()
	return makeAPIOn(t, pool, idempotency.Config{}, config, func(*graph.Resolver) {})
}

// makeAPIOn does so with an engine and a resolver that are set up.
func makeAPIOn(t testing.TB, pool *pgxpool.Pool, keyed idempotency.Config, config graph.Config, set func(*graph.Resolver)) *api {
	t.Helper()
	engine := idempotency.New(pool, keyed)
	once := gqlidem.New(engine, tenantOf, gqlidem.WithRequestID(requestid.From))
	t.Cleanup(func() {
		if err := once.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	log := &lines{}
	config.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	resolver := graph.NewResolver(once, engine, db.NewQueries(pool, time.Minute, 100), tenantOf)
	resolver.Ended = config.Ended
	set(resolver)
	resolver.May = config.May
	handler := graph.NewHandler(resolver, once, config)
	return &api{Handler: requestid.Handler(handler), pool: pool, log: log}
}

type tenantKey struct{}

// as makes the context of a tenant's request.
func as(ctx context.Context, tenant string) context.Context {
	return resolving(ctx, func() (string, error) { return tenant, nil })
}

// resolving makes the context of a request whose resolvers find out its tenant in
// this way.
func resolving(ctx context.Context, tenant func() (string, error)) context.Context {
	return context.WithValue(ctx, tenantKey{}, tenant)
}

func tenantOf(ctx context.Context) (string, error) {
	if tenant, ok := ctx.Value(tenantKey{}).(func() (string, error)); ok {
		return tenant()
	}
	return "", nil
}

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// all returns the lines so far.
func (l *lines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSuffix(l.text.String(), "\n"), "\n")[:bytes.Count(l.text.Bytes(), []byte("\n"))]
}

// An answer is a response of GraphQL.
type answer struct {
	status int
	header http.Header
	text   string

	Errors []struct {
		Message    string
		Path       []any
		Locations  []struct{ Line, Column int }
		Extensions map[string]any
	}
	Data       json.RawMessage
	Extensions map[string]any
}

func (a answer) codes() []string {
	codes := make([]string, len(a.Errors))
	for i, failure := range a.Errors {
		codes[i], _ = failure.Extensions["code"].(string)
	}
	return codes
}

// code is that of the one error, or "" when there is none.
func (a answer) code(t testing.TB) string {
	t.Helper()
	if len(a.Errors) == 0 {
		return ""
	}
	if len(a.Errors) > 1 {
		t.Fatalf("more than one error: %s", a.text)
	}
	return a.codes()[0]
}

// post sends a document with its variables, nil for none, as the tenant of ctx.
// Every error must carry what every error has.
func (a *api) post(ctx context.Context, t testing.TB, document string, variables map[string]any) answer {
	t.Helper()
	body, err := json.Marshal(map[string]any{"query": document, "variables": variables})
	if err != nil {
		t.Fatal(err)
	}
	return a.send(ctx, t, string(body))
}

func (a *api) send(ctx context.Context, t testing.TB, body string) answer {
	t.Helper()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/graphql", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/graphql-response+json")
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	result := answer{status: w.Code, header: w.Header(), text: w.Body.String()}
	if err := json.Unmarshal(w.Body.Bytes(), &result); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	for _, failure := range result.Errors {
		if failure.Extensions["requestId"] != w.Header().Get(requestid.Header) || failure.Message == "" {
			t.Errorf("an error without its request's id, or without a message: %s", w.Body)
		}
		if _, ok := failure.Extensions["retryable"].(bool); !ok {
			t.Errorf("an error that does not say whether it is retryable: %s", w.Body)
		}
	}
	return result
}
