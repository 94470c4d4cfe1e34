package gqlidem_test

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/99designs/gqlgen/graphql/handler/transport"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"github.com/onceql/onceql/db"
	"github.com/onceql/onceql/graph"
	"github.com/onceql/onceql/graph/generated"
	"github.com/onceql/onceql/graph/model"
	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/idempotency/gqlidem"
)

// How a gqlgen server uses the package. generated is what gqlgen wrote, graph has
// the resolvers.
func Example() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, "postgres://localhost/shop")
	if err != nil {
		panic(err)
	}
	tenantOf := func(context.Context) (string, error) { return "the caller's", nil }

	engine := idempotency.New(pool, idempotency.Config{})
	once := gqlidem.New(engine, tenantOf)
	defer once.Close(ctx)
	server := handler.New(generated.NewExecutableSchema(generated.Config{
		Resolvers: graph.NewResolver(once, engine, db.NewQueries(pool, 5*time.Second, 4096), tenantOf),
	}))
	server.AddTransport(transport.POST{})
	server.Use(once) // Status, error codes, and the check of the schema.
	http.Handle("/graphql", gqlidem.WithHeader(server))
}

// resolver stands for the importer's own.
type resolver struct{ Once *gqlidem.Once }

// A resolver hands its effect to Do. All that the effect does goes through tx.
func ExampleDo() {
	_ = func(r *resolver) any {
		return func(ctx context.Context, input model.CreateProjectInput, _ string) (*model.CreateProjectPayload, error) {
			return gqlidem.Do(ctx, r.Once, func(ctx context.Context, tx pgx.Tx) (*model.CreateProjectPayload, error) {
				payload := &model.CreateProjectPayload{Project: &model.Project{Name: input.Name}}
				err := tx.QueryRow(ctx, `insert into orders (name) values ($1) returning id`, input.Name).Scan(&payload.Project.ID)
				return payload, err
			})
		}
	}
}

// Two documents that ask for the same thing have the same form.
func ExampleCanonical() {
	schema := gqlparser.MustLoadSchema(&ast.Source{Input: `
		input OrderInput { sku: ID!, quantity: Int! = 1, note: String }
		type Query { ok: Boolean }
		type Mutation { createOrder(input: OrderInput!, idempotencyKey: String!): Boolean }`})

	for document, variables := range map[string]map[string]any{
		`mutation { createOrder(input: {sku: 7, note: "fragile"}, idempotencyKey: "k") }`:                        nil,
		`mutation($in: OrderInput!) { mine: createOrder(idempotencyKey: "k", input: $in) }`:                      {"in": map[string]any{"note": "fragile", "sku": "7"}},
		`mutation($sku: ID = "7") { createOrder(input: {note: """fragile""", sku: $sku}, idempotencyKey: "k") }`: nil,
	} {
		operation := gqlparser.MustLoadQueryWithRules(schema, document, rules.NewDefaultRules()).Operations[0]
		coerced, err := validator.VariableValues(schema, operation, variables)
		if err != nil {
			panic(err)
		}
		form, err := gqlidem.Canonical(schema, operation.SelectionSet[0].(*ast.Field), coerced, gqlidem.KeyArgument, gqlidem.FingerprintVersion)
		if err != nil {
			panic(err)
		}
		fmt.Println(string(form))
	}
	// Output:
	// v1 createOrder {"input":{"note":"fragile","sku":"7"}}
	// v1 createOrder {"input":{"note":"fragile","sku":"7"}}
	// v1 createOrder {"input":{"note":"fragile","sku":"7"}}
}

// What happens after the commit happens for the call that executed alone.
func ExampleDoOutcome() {
	notify := func(*model.Project) {}
	_ = func(r *resolver) any {
		return func(ctx context.Context, input model.CreateProjectInput, _ string) (*model.CreateProjectPayload, error) {
			outcome, err := gqlidem.DoOutcome(ctx, r.Once, func(ctx context.Context, tx pgx.Tx) (*model.CreateProjectPayload, error) {
				payload := &model.CreateProjectPayload{Project: &model.Project{Name: input.Name}}
				err := tx.QueryRow(ctx, `insert into orders (name) values ($1) returning id`, input.Name).Scan(&payload.Project.ID)
				return payload, err
			})
			if err == nil && !outcome.Replayed {
				notify(outcome.Value.Project)
			}
			return outcome.Value, err
		}
	}
}

// The members of unions and interfaces are named once, for all payloads.
func ExampleUnion() {
	type OrderPlaced struct{ ID string }
	type CardDeclined struct{ Reason string }
	tenantOf := func(context.Context) (string, error) { return "the caller's", nil }
	_ = gqlidem.New(nil, tenantOf, gqlidem.Union(OrderPlaced{}, CardDeclined{}))
}

// What a server says that does not start, when all its mutations have to be marked.
func ExampleOnce_Check() {
	schema := gqlparser.MustLoadSchema(&ast.Source{Input: `
		directive @idempotent on FIELD_DEFINITION
		type Query { ok: Boolean }
		type Mutation {
			createOrder(idempotencyKey: String!): Boolean @idempotent
			cancelOrder(id: ID!): Boolean @idempotent
			deleteOrder(id: ID!, idempotencyKey: String!): Boolean
		}`})
	fmt.Println(gqlidem.New(nil, nil, gqlidem.Strict()).Check(schema))
	// Output:
	// the mutation cancelOrder lacks the argument `idempotencyKey: String!` without a default
	// the mutation deleteOrder is not marked @idempotent
}
