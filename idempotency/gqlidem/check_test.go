package gqlidem_test

import (
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/onceql/onceql/idempotency/gqlidem"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	const good = `idempotencyKey: String!`
	type test = struct {
		name, sdl string
		// strict and lax are parts of the error with Strict and without, one for each
		// fault; none where the schema is accepted.
		strict, lax []string
	}
	always := func(name, sdl, fault string) test { return test{name, sdl, []string{fault}, []string{fault}} }
	for _, test := range []test{
		{"without mutations", ``, nil, nil},
		{"as it should be", `type Mutation { do(` + good + `): Plain @idempotent }`, nil, nil},
		{"with other arguments", `type Mutation { do(a: Int, ` + good + `, b: [String!] = []): [Plain!] @idempotent }`, nil, nil},
		{"extended", `type Mutation { do(` + good + `): Plain @idempotent } extend type Mutation { undo: Plain }`, []string{"undo is not marked @idempotent"}, nil},
		{"no directive", `type Mutation { login: Plain }`, []string{"login is not marked @idempotent"}, nil},
		{"a key and no directive", `type Mutation { do(` + good + `): Plain }`, []string{"do is not marked @idempotent"}, nil},
		{"another directive", `type Mutation { do(` + good + `): Plain @deprecated }`, []string{"do is not marked @idempotent"}, nil},
		always("under another name", `schema { query: Query mutation: Changes } type Changes { do: Plain @idempotent }`, "do lacks the argument"),
		always("no key", `type Mutation { do(a: String): Plain @idempotent }`, "do lacks the argument `idempotencyKey: String!`"),
		always("a key that may be null", `type Mutation { do(idempotencyKey: String): Plain @idempotent }`, "do lacks the argument"),
		always("a key of another type", `type Mutation { do(idempotencyKey: ID!): Plain @idempotent }`, "do lacks the argument"),
		always("a list of keys", `type Mutation { do(idempotencyKey: [String!]!): Plain @idempotent }`, "do lacks the argument"),
		always("a key with a default", `type Mutation { do(idempotencyKey: String! = "k"): Plain @idempotent }`, "without a default"),
		{"everything wrong", `type Mutation { a: Plain b: Plain @idempotent }`, []string{"a is not marked", "b lacks"}, []string{"b lacks"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			schema := gqlparser.MustLoadSchema(&ast.Source{Input: `
				directive @idempotent on FIELD_DEFINITION
				type Query { ok: Boolean }
				type Plain { id: ID! }
			` + test.sdl})
			for once, faults := range map[*gqlidem.Once][]string{
				gqlidem.New(nil, nil, gqlidem.Strict()): test.strict,
				gqlidem.New(nil, nil):                   test.lax,
			} {
				wantFaults(t, once.Check(schema), faults)
				// A server does not start with a schema that is refused.
				started := func() (started bool) {
					defer func() { started = recover() == nil }()
					handler.New(executable{schema: schema}).Use(once)
					return true
				}()
				if started != (len(faults) == 0) {
					t.Errorf("the server started: %t, want faults %q", started, faults)
				}
			}
		})
	}
}

// wantFaults checks that the error tells these faults and no others, in order.
func wantFaults(t testing.TB, err error, faults []string) {
	t.Helper()
	var got []string
	if err != nil {
		got = strings.Split(err.Error(), "\n")
	}
	if len(got) != len(faults) {
		t.Errorf("faults %q, want %q", got, faults)
		return
	}
	for i, fault := range faults {
		if !strings.Contains(got[i], fault) {
			t.Errorf("fault %q, want %q in it", got[i], fault)
		}
	}
}
