package gqlidem_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/99designs/gqlgen/graphql/handler/transport"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/idempotency/gqlidem"
)

// resolvers resolve the mutations of an executable, by their names.
type resolvers = map[string]func(ctx context.Context) (any, error)

// An executable runs mutations as gqlgen's generated code does, for any schema.
// Payloads are answered whole, whatever is selected.
type executable struct {
	schema    *ast.Schema
	resolvers resolvers
}

func (e executable) Schema() *ast.Schema { return e.schema }

func (e executable) Complexity(context.Context, string, string, int, map[string]any) (int, bool) {
	return 0, false
}

func (e executable) Exec(ctx context.Context) graphql.ResponseHandler {
	opCtx := graphql.GetOperationContext(ctx)
	return func(ctx context.Context) *graphql.Response {
		fields := graphql.CollectFields(opCtx, opCtx.Operation.SelectionSet, []string{"Mutation"})
		out := graphql.NewFieldSet(fields)
		for i, field := range fields {
			root := graphql.WithRootFieldContext(ctx, &graphql.RootFieldContext{Object: field.Name, Field: field})
			out.Values[i] = opCtx.RootResolverMiddleware(root, func(ctx context.Context) graphql.Marshaler {
				return e.resolve(ctx, opCtx, field)
			})
		}
		out.Dispatch(ctx)
		var data strings.Builder
		out.MarshalGQL(&data)
		return &graphql.Response{Data: json.RawMessage(data.String())}
	}
}

func (e executable) resolve(ctx context.Context, opCtx *graphql.OperationContext, field graphql.CollectedField) graphql.Marshaler {
	return graphql.ResolveField(ctx, opCtx, field,
		func(ctx context.Context, field graphql.CollectedField) (*graphql.FieldContext, error) {
			fc := &graphql.FieldContext{Object: "Mutation", Field: field}
			ctx = graphql.WithFieldContext(ctx, fc)
			args := field.ArgumentMap(opCtx.Variables)
			if even, ok := args["even"]; ok { // An argument that is read by more than its type.
				if n, err := graphql.UnmarshalInt(even); err != nil || n%2 != 0 {
					err = fmt.Errorf("%v is not even", even)
					graphql.AddError(ctx, err)
					return nil, err
				}
			}
			fc.Args = args
			return fc, nil
		},
		func(ctx context.Context) (any, error) { return e.resolvers[field.Name](ctx) }, nil,
		func(_ context.Context, _ ast.SelectionSet, payload any) graphql.Marshaler {
			return graphql.WriterFunc(func(w io.Writer) { _ = json.NewEncoder(w).Encode(payload) })
		},
		true, false,
	)
}

// newOnce returns a Once of the tenant "tenant", on an engine of its own.
func newOnce(t testing.TB, pool *pgxpool.Pool, options ...gqlidem.Option) *gqlidem.Once {
	t.Helper()
	return newOnceOf(t, pool, func(context.Context) (string, error) { return "tenant", nil }, options...)
}

func newOnceOf(t testing.TB, pool *pgxpool.Pool, tenant func(context.Context) (string, error), options ...gqlidem.Option) *gqlidem.Once {
	t.Helper()
	once := gqlidem.New(newEngine(t, pool), tenant, options...)
	return once
}

func newEngine(t testing.TB, pool *pgxpool.Pool) *idempotency.Engine {
	t.Helper()
	engine := idempotency.New(pool, idempotency.Config{PurgeEvery: -1})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := engine.Close(ctx); err != nil {
			t.Errorf("closing the engine: %v", err)
		}
	})
	return engine
}

// serve serves an executable with the schema, in gqlgen's own transport.
func serve(sdl string, once *gqlidem.Once, resolvers resolvers) http.Handler {
	server := handler.New(executable{gqlparser.MustLoadSchema(&ast.Source{Input: sdl}), resolvers})
	server.AddTransport(transport.POST{})
	server.Use(once)
	return gqlidem.WithHeader(server)
}

// A response is what a client sees.
type response struct {
	Data   map[string]json.RawMessage
	Errors []struct {
		Message    string
		Path       []any
		Locations  []struct{ Line, Column int }
		Extensions map[string]any
	}
	Extensions struct {
		Idempotency map[string]fieldStatus
	}
	header http.Header
	body   string
}

type fieldStatus struct {
	Status                string
	ExecutedAt, ExpiresAt time.Time
	RequestID             *string
}

// replayed is the header Idempotency-Replayed.
func (r response) replayed() string { return r.header.Get(gqlidem.HeaderReplayed) }

// statuses are those of the fields, by their response keys.
func (r response) statuses() map[string]string {
	if r.Extensions.Idempotency == nil {
		return nil
	}
	statuses := map[string]string{}
	for key, field := range r.Extensions.Idempotency {
		statuses[key] = field.Status
	}
	return statuses
}

// send posts a document, and its variables as JSON.
func send(t testing.TB, server http.Handler, document string, variables ...string) response {
	t.Helper()
	return sendAs(t, server, "", document, variables...)
}

func sendAs(t testing.TB, server http.Handler, requestID, document string, variables ...string) response {
	t.Helper()
	query, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	return postBody(t, server, requestID, `{"query": `+string(query)+`, "variables": `+strings.Join(append(variables, "null")[:1], "")+`}`)
}

// sendOperation runs one of a document's operations.
func sendOperation(t testing.TB, server http.Handler, document, name string) response {
	t.Helper()
	body, err := json.Marshal(map[string]any{"query": document, "operationName": name})
	if err != nil {
		t.Fatal(err)
	}
	return postBody(t, server, "", string(body))
}

func postBody(t testing.TB, server http.Handler, requestID, body string) response {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/graphql", strings.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	if requestID != "" {
		request.Header.Set("X-Request-Id", requestID)
	}
	recorder := httptest.NewRecorder()
	server.ServeHTTP(recorder, request)
	r := response{header: recorder.Header(), body: recorder.Body.String()}
	if err := json.Unmarshal([]byte(r.body), &r); err != nil {
		t.Fatalf("%v: %s", err, r.body)
	}
	return r
}
