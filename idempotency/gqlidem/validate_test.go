package gqlidem_test

import (
	"context"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/99designs/gqlgen/graphql"
	"github.com/jackc/pgx/v5"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/onceql/onceql/graph/generated"
	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/idempotency/gqlidem"
	"github.com/onceql/onceql/internal/pgtest"
)

// A generatedSchema has the shape of the code that gqlgen generates.
type generatedSchema[R, D any] graphql.ExecutableSchemaState[R, D, struct{}]

func (s *generatedSchema[R, D]) Schema() *ast.Schema { return s.SchemaData }

func (*generatedSchema[R, D]) Complexity(context.Context, string, string, int, map[string]any) (int, bool) {
	return 0, false
}

func (*generatedSchema[R, D]) Exec(context.Context) graphql.ResponseHandler { return nil }

// A root has a resolver of mutations, which resolves one whose payload is a T.
type (
	root[T any]             interface{ Mutation() mutationResolver[T] }
	mutationResolver[T any] interface {
		DoIt(ctx context.Context, idempotencyKey string) (T, error)
	}
)

// validate starts a server whose resolver returns a T.
func validate[T any](once *gqlidem.Once, sdl string) error {
	schema := gqlparser.MustLoadSchema(&ast.Source{Input: `directive @idempotent on FIELD_DEFINITION type Query { ok: Boolean } ` + sdl})
	return once.Validate(&generatedSchema[root[T], struct{}]{SchemaData: schema})
}

type (
	lossy struct {
		Note   *note
		secret string //nolint:unused // That it is lost is what is tested.
	}
	// result is a union as gqlgen generates it, loose one as it does when it is
	// told to leave the method out.
	result interface{ IsResult() }
	loose  any
	placed struct {
		ID    string `json:"id"`
		Extra any    `json:"extra,omitempty"`
	}
	declined struct{ Reason string }
	payload  struct {
		Result  result   `json:"result"`
		Results []result `json:"results,omitempty"`
	}
	anything struct{ Loose loose }
)

func (placed) IsResult()    {}
func (*declined) IsResult() {}

const (
	plainSDL = `type Note { text: String! owner: Owner } interface Owner { id: ID! }
		type Mutation { do_it(idempotencyKey: String!): Note @idempotent }`
	unionSDL = `type Placed { id: ID! } type Declined { reason: String! }
		union Result = Placed | Declined
		union Loose = Placed | Declined
		type Payload { result: Result }
		type Mutation { doIt(idempotencyKey: String!): Payload @idempotent }`
)

// The payload's Go type decides: what it does not hold, such as the field owner
// with a resolver of its own, is not stored.
func TestValidate_ChecksTheGoTypesOfPayloads(t *testing.T) {
	t.Parallel()
	wantFaults(t, validate[*note](gqlidem.New(nil, nil), plainSDL), nil)
	wantFaults(t, validate[*lossy](gqlidem.New(nil, nil), plainSDL),
		[]string{"the payload of the mutation do_it: values of *gqlidem_test.lossy can't be stored as JSON and read back: secret is not exported"})
	wantFaults(t, validate[*lossy](gqlidem.New(nil, nil, gqlidem.WithCodec("Note", petCodec{})), plainSDL), nil)
	wantFaults(t, validate[*lossy](gqlidem.New(nil, nil, gqlidem.WithCodec("Owner", petCodec{})), plainSDL), []string{"secret"})
	// What is not marked is left alone.
	wantFaults(t, validate[*lossy](gqlidem.New(nil, nil), `type Mutation { doIt(idempotencyKey: String!): Boolean }`), nil)
	wantFaults(t, validate[*lossy](gqlidem.New(nil, nil), ``), nil)
	// Mutations may be the fields of another type.
	type changes interface {
		MyChanges() mutationResolver[*lossy]
	}
	err := gqlidem.New(nil, nil).Validate(&generatedSchema[changes, struct{}]{SchemaData: gqlparser.MustLoadSchema(&ast.Source{Input: `
		directive @idempotent on FIELD_DEFINITION
		schema { query: Query mutation: my_changes } type Query { ok: Boolean }
		type my_changes { doIt(idempotencyKey: String!): Boolean @idempotent }`})})
	wantFaults(t, err, []string{"secret"})
}

func TestValidate_NamesWhatUnionsLack(t *testing.T) {
	t.Parallel()
	with := func(members ...any) *gqlidem.Once { return gqlidem.New(nil, nil, gqlidem.Union(members...)) }
	const none = "is of the interface type gqlidem_test.result: no type that gqlidem.Union names is one"
	wantFaults(t, validate[*payload](gqlidem.New(nil, nil), unionSDL), []string{"Result " + none})
	wantFaults(t, validate[result](with(), unionSDL), []string{"it " + none})
	wantFaults(t, validate[*payload](with(note{}), unionSDL), []string{"Result " + none})
	wantFaults(t, validate[[]*payload](with(placed{}), unionSDL), []string{"[].Result is of the interface type gqlidem_test.result: gqlidem.Union names no Go type for Declined of the union Result"})
	wantFaults(t, validate[*payload](with(placed{}, declined{}), unionSDL), nil)
	wantFaults(t, validate[*payload](with(&placed{}, &declined{}), unionSDL), nil)
	// Of an interface one type is enough.
	wantFaults(t, validate[*payload](with(placed{}), `interface Result { id: ID! } type Placed implements Result { id: ID! }
		type Other implements Result { id: ID! } type Mutation { doIt(idempotencyKey: String!): Result @idempotent }`), nil)
	// So are types of other names.
	wantFaults(t, validate[*payload](with(placed{}, declined{}), `type A { id: ID! } type B { id: ID! } union Result = A | B
		type Mutation { doIt(idempotencyKey: String!): Result @idempotent }`), nil)
	// Without its method, a union is known by its name, and all types are of it.
	wantFaults(t, validate[*anything](gqlidem.New(nil, nil), unionSDL), []string{"Loose is of the interface type gqlidem_test.loose: no type"})
	wantFaults(t, validate[*anything](with(placed{}), unionSDL), []string{"Declined of the union Loose"})
	wantFaults(t, validate[*anything](gqlidem.New(nil, nil), plainSDL), nil)
	// Members are stored too.
	type hidden struct {
		result
		secret int //nolint:unused // That it is lost is what is tested.
	}
	wantFaults(t, validate[*payload](with(placed{}, hidden{}), unionSDL), []string{"Result.(gqlidem_test.hidden).result is not exported", "Result.(gqlidem_test.hidden).secret is not exported"})
}

func TestValidate_RefusesMembersThatCantBeNamed(t *testing.T) {
	t.Parallel()
	type placed struct{ ID int }
	for _, test := range []struct {
		members []any
		fault   string
	}{
		{[]any{nil}, "<nil> is neither a value of a type with a name"},
		{[]any{new(*note)}, "**gqlidem_test.note is neither"},
		{[]any{struct{}{}}, "struct {} is neither"},
		{[]any{(*result)(nil)}, "*gqlidem_test.result is neither"},
		{[]any{placed{}, json.Number("")}, ""},
		{[]any{placed{}, outerPlaced}, `would both be stored as "placed"`},
		{[]any{placed{}, gqlidem.As("other", outerPlaced)}, ""},
		{[]any{placed{}, gqlidem.As("placed", outerPlaced)}, `would both be stored as "placed"`},
		{[]any{placed{}, &placed{}, gqlidem.As("placed", placed{})}, ""},
		{[]any{placed{}, gqlidem.As("older", placed{})}, `would be stored as "placed" and as "older"`},
		{[]any{gqlidem.As("", placed{})}, `"" can't be the name of`},
		{[]any{gqlidem.As("*placed", placed{})}, `"*placed" can't be the name of`},
		{[]any{gqlidem.As("placed", nil)}, "<nil> is neither"},
	} {
		var faults []string
		if test.fault != "" {
			faults = []string{test.fault}
		}
		wantFaults(t, validate[*note](gqlidem.New(nil, nil, gqlidem.Union(test.members...)), plainSDL), faults)
	}
}

var outerPlaced = placed{}

func TestValidate_ChecksBatches(t *testing.T) {
	t.Parallel()
	once := newOnce(t, pgtest.Pool(t))
	gqlidem.NewBatch(once, "doIt", idempotency.AcrossScopes(), func(context.Context, pgx.Tx, []*idempotency.Item[int, *lossy]) error { return nil })
	gqlidem.NewBatch(once, "undoIt", idempotency.AcrossScopes(), func(context.Context, pgx.Tx, []*idempotency.Item[int, *note]) error { return nil })
	const sdl = `type Mutation { doIt(idempotencyKey: String!): Boolean @idempotent undoIt: Boolean }`
	faults := []string{"the payload of the mutation doIt: values of *gqlidem_test.lossy", "the batch undoIt is for no mutation that is marked @idempotent"}
	wantFaults(t, validate[*note](once, sdl), faults)
	// What the resolver returns and what the batch was made for are mostly the same.
	wantFaults(t, validate[*lossy](once, sdl), faults)
	wantFaults(t, validate[*note](once, ``), []string{"doIt is for no mutation", "undoIt is for no mutation"})
}

// A directive that gqlgen's code calls and nobody implements would fail each
// marked mutation.
func TestValidate_FindsADirectiveThatNothingImplements(t *testing.T) {
	t.Parallel()
	type directives struct {
		Other      func()
		Idempotent func(ctx context.Context, obj any, next graphql.Resolver) (any, error)
	}
	schema := gqlparser.MustLoadSchema(&ast.Source{Input: `directive @idempotent on FIELD_DEFINITION type Query { ok: Boolean } ` + plainSDL})
	executable := &generatedSchema[root[*note], directives]{SchemaData: schema}
	wantFaults(t, gqlidem.New(nil, nil).Validate(executable),
		[]string{"nothing implements the directive @idempotent: it only marks mutations, so write in gqlgen.yml `directives: { idempotent: { skip_runtime: true } }`"})
	executable.Directives.Idempotent = func(ctx context.Context, _ any, next graphql.Resolver) (any, error) { return next(ctx) }
	wantFaults(t, gqlidem.New(nil, nil).Validate(executable), nil)
}

// What gqlgen generates is where it is looked for.
func TestValidate_KnowsWhatGqlgenGenerates(t *testing.T) {
	t.Parallel()
	schema := generated.NewExecutableSchema(generated.Config{})
	if got, want := gqlidem.MutationResolver(schema), reflect.TypeFor[generated.MutationResolver](); got != want {
		t.Errorf("the mutations' resolver is %v, want %v", got, want)
	}
	wantFaults(t, gqlidem.New(nil, nil, gqlidem.Strict()).Validate(schema), nil)
	if got := gqlidem.MutationResolver(executable{schema: schema.Schema()}); got != nil {
		t.Errorf("the mutations' resolver of another schema is %v", got)
	}
}
