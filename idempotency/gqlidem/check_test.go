package gqlidem_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/onceql/onceql/idempotency/gqlidem"
)

// plain is a codec that leaves all to encoding/json.
type plain struct{}

func (plain) Encode(value any) ([]byte, error)   { return json.Marshal(value) }
func (plain) Decode(data []byte, into any) error { return json.Unmarshal(data, into) }

func TestCheck(t *testing.T) {
	t.Parallel()
	const good = `idempotencyKey: String!`
	for _, test := range []struct {
		name, sdl string
		codecs    []string
		// faults are parts of the error, one for each fault; none for a schema
		// that is accepted.
		faults []string
	}{
		{"without mutations", ``, nil, nil},
		{"as it should be", `type Mutation { do(` + good + `): Plain @idempotent }`, nil, nil},
		{"with other arguments", `type Mutation { do(a: Int, ` + good + `, b: [String!] = []): [Plain!] @idempotent }`, nil, nil},
		{"extended", `type Mutation { do(` + good + `): Plain @idempotent } extend type Mutation { undo: Plain }`, nil, []string{"undo is not marked", "undo lacks"}},
		{"under another name", `schema { query: Query mutation: Changes } type Changes { do: Plain @idempotent }`, nil, []string{"do lacks the argument"}},
		{"no directive", `type Mutation { do(` + good + `): Plain }`, nil, []string{"do is not marked @idempotent"}},
		{"another directive", `type Mutation { do(` + good + `): Plain @deprecated }`, nil, []string{"do is not marked @idempotent"}},
		{"no key", `type Mutation { do(a: String): Plain @idempotent }`, nil, []string{"do lacks the argument `idempotencyKey: String!`"}},
		{"a key that may be null", `type Mutation { do(idempotencyKey: String): Plain @idempotent }`, nil, []string{"do lacks the argument"}},
		{"a key of another type", `type Mutation { do(idempotencyKey: ID!): Plain @idempotent }`, nil, []string{"do lacks the argument"}},
		{"a list of keys", `type Mutation { do(idempotencyKey: [String!]!): Plain @idempotent }`, nil, []string{"do lacks the argument"}},
		{"a key with a default", `type Mutation { do(idempotencyKey: String! = "k"): Plain @idempotent }`, nil, []string{"without a default"}},
		{"everything wrong", `type Mutation { a: Plain b(` + good + `): Either }`, nil, []string{"a is not marked", "a lacks", "b is not marked", "Either"}},
		{"a union", `type Mutation { do(` + good + `): Either @idempotent }`, nil, []string{"the payload Either of the mutation do reaches the abstract type Either"}},
		{"an interface in a list", `type Mutation { do(` + good + `): [Thing!]! @idempotent }`, nil, []string{"abstract type Thing"}},
		{"a union deep inside", `type Mutation { do(` + good + `): Deep @idempotent }`, nil, []string{"the payload Deep of the mutation do reaches the abstract type Either"}},
		{"a union with a codec", `type Mutation { do(` + good + `): Either @idempotent }`, []string{"Either"}, nil},
		{"a union deep inside with a codec", `type Mutation { do(` + good + `): Deep @idempotent }`, []string{"Deep"}, nil},
		{"a codec for a type inside", `type Mutation { do(` + good + `): Deep @idempotent }`, []string{"Either"}, []string{"the payload Deep"}},
		{"a type that holds itself", `type Mutation { do(` + good + `): Tree @idempotent }`, nil, nil},
		{"a scalar", `type Mutation { do(` + good + `): Boolean! @idempotent }`, nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			schema := gqlparser.MustLoadSchema(&ast.Source{Input: `
				directive @idempotent on FIELD_DEFINITION
				type Query { ok: Boolean }
				interface Thing { id: ID! }
				type Plain implements Thing { id: ID! }
				type Tree { id: ID! children: [Tree!]! parent: Tree }
				union Either = Plain | Tree
				type Deep { plain: Plain! deeper: [Deeper!] }
				type Deeper { tree: Tree deep: Deep found: [Either] }
			` + test.sdl})
			var options []gqlidem.Option
			for _, payload := range test.codecs {
				options = append(options, gqlidem.WithCodec(payload, plain{}))
			}
			once := gqlidem.New(nil, nil, options...)
			err := once.Check(schema)
			if (err != nil) != (len(test.faults) > 0) {
				t.Fatalf("error %v, want %q", err, test.faults)
			}
			for _, fault := range test.faults {
				if !strings.Contains(err.Error(), fault) {
					t.Errorf("error %q, want %q in it", err, fault)
				}
			}
			if err != nil && strings.Count(err.Error(), "\n")+1 != len(test.faults) {
				t.Errorf("error %q, want %d faults", err, len(test.faults))
			}
			// A server does not start with a schema that is refused.
			started := func() (started bool) {
				defer func() { started = recover() == nil }()
				handler.New(executable{schema: schema}).Use(once)
				return true
			}()
			if started != (err == nil) {
				t.Errorf("the server started: %t", started)
			}
		})
	}
}

// Types that all know each other have more paths between them than can be walked.
func TestCheck_OfManyTypesThatKnowEachOther(t *testing.T) {
	t.Parallel()
	var sdl strings.Builder
	sdl.WriteString(`directive @idempotent on FIELD_DEFINITION
		type Query { ok: Boolean }
		type Mutation { do(idempotencyKey: String!): T0 @idempotent }`)
	const types = 40
	for i := range types {
		fmt.Fprintf(&sdl, "type T%d {", i)
		for j := range types {
			fmt.Fprintf(&sdl, " f%d: T%d", j, j)
		}
		sdl.WriteString(" }\n")
	}
	if err := gqlidem.New(nil, nil).Check(gqlparser.MustLoadSchema(&ast.Source{Input: sdl.String()})); err != nil {
		t.Error(err)
	}
}
