package gqlidem_test

import (
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
)

// What docs/fingerprint.md says of changes to a schema.
func TestCanonical_OverAChangeOfTheSchema(t *testing.T) {
	t.Parallel()
	types := map[string]string{"enum E": "{ A B }", "input I": "{ n: Int = 1, s: String }", "scalar X": ""}
	const pair = `{"v": {"n": 10, "s": "a"}}`
	for _, test := range []struct {
		name          string
		before, after string // The arguments, and after ";" other definitions.
		variables     string
		keeps         bool
	}{
		{"a field is added", "v: I", "v: I; input I { n: Int = 1, s: String, more: [Int!]! = [1], other: E }", pair, true},
		{"an argument is added", "v: I", "more: Int! = 1, v: I, other: E", pair, true},
		{"a default is added", "v: I", "v: I; input I { n: Int = 1, s: String = \"s\" }", `{"v": {"n": 1}}`, true},
		{"a default is changed", "v: I", "v: I; input I { n: Int = 2, s: String }", `{"v": {}}`, true},
		{"a default is removed", "v: I", "v: I; input I { n: Int, s: String }", `{"v": {}}`, true},
		{"an argument gains a default", "v: I", "v: I = {n: 5}", `{}`, true},
		{"a type is renamed", "v: I", "v: J; input J { n: Int = 1, s: String }", pair, true},
		{"a scalar is renamed", "v: X", "v: Y; scalar Y", `{"v": [1.0, {"a": 10}]}`, true},
		{"a type is not null", "v: I", "v: I!; input I { n: Int! = 1, s: String! }", pair, true},
		{"a list's elements are not null", "v: [Int]", "v: [Int!]!", `{"v": 1}`, true},
		{"a type is oneOf", "v: I", "v: I; input I @oneOf { n: Int, s: String }", `{"v": {"n": 1}}`, true},
		{"an enum gains a value", "v: E", "v: E; enum E { A0 A B }", `{"v": "A"}`, true},
		{"an enum becomes a String", "v: E", "v: String", `{"v": "A"}`, true},
		{"an enum becomes a scalar", "v: E", "v: X", `{"v": "A"}`, true},
		{"definitions move", "a: Int, v: I", "v: I, a: Int; input I { \"A text.\" s: String, n: Int = 1 @deprecated }", pair, true},
		{"String becomes ID", "v: String", "v: ID", `{"v": "5"}`, true},
		{"ID becomes String", "v: ID", "v: String", `{"v": 5}`, true},
		{"Int becomes Float", "v: Int", "v: Float", `{"v": -9007199254740992}`, true},
		{"String becomes a scalar", "v: String", "v: X", `{"v": "a"}`, true},
		{"Boolean becomes a scalar", "v: Boolean", "v: X", `{"v": true}`, true},
		{"a list of Boolean becomes a scalar", "v: [Boolean]", "v: X", `{"v": [true, null]}`, true},

		{"a large Int becomes Float", "v: Int", "v: Float", `{"v": 9007199254740993}`, false},
		{"a value becomes a list", "v: I", "v: [I]", pair, false},
		{"a field becomes a list", "v: I", "v: I; input I { n: [Int], s: String }", pair, false},
		{"a list becomes a list of lists", "v: [Int]", "v: [[Int]]", `{"v": 1}`, false},
		{"Int becomes ID", "v: Int", "v: ID", `{"v": 5}`, false},
		{"Int becomes String", "v: Int", "v: String", `{"v": 5}`, false},
		{"Float becomes ID", "v: Float", "v: ID", `{"v": 5}`, false},
		{"Int becomes a scalar", "v: Int", "v: X", `{"v": 100}`, false},
		{"Float becomes a scalar", "v: Float", "v: X", `{"v": 1.5}`, false},
		{"ID becomes a scalar", "v: ID", "v: X", `{"v": 5}`, false},
		{"an object becomes a scalar", "v: I", "v: X", pair, false},
	} {
		forms := map[bool]string{}
		for _, now := range []bool{false, true} {
			arguments, definitions, _ := strings.Cut(map[bool]string{false: test.before, true: test.after}[now], ";")
			for name, definition := range types {
				if !strings.Contains(definitions, name+" ") {
					definitions += "\n" + name + " " + definition
				}
			}
			schema := gqlparser.MustLoadSchema(&ast.Source{Input: definitions + `
				type Query { ok: Boolean }
				type Mutation { do(` + arguments + `, idempotencyKey: String!): Boolean }`})
			typ := schema.Mutation.Fields.ForName("do").Arguments.ForName("v").Type.String()
			c, err := parse(schema, `mutation($v: `+typ+`) { do(v: $v, idempotencyKey: "k") }`, "", test.variables)
			if err != nil {
				t.Fatalf("%s: %v", test.name, err)
			}
			if forms[now], err = c.form(); err != nil {
				t.Fatalf("%s: %v", test.name, err)
			}
		}
		if (forms[false] == forms[true]) != test.keeps {
			t.Errorf("%s: %s, then %s", test.name, forms[false], forms[true])
		}
	}
}
