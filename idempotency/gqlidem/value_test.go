package gqlidem_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql"
	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"github.com/onceql/onceql/idempotency/gqlidem"
	"github.com/onceql/onceql/internal/pgtest"
)

const nullSDL = `directive @idempotent on FIELD_DEFINITION
	directive @tag(n: Int! = 1) on MUTATION | VARIABLE_DEFINITION | FRAGMENT_DEFINITION
	input Point { x: Float! = 0, names: [String!] = [], inner: Point, key: String! }
	enum Color { RED }
	scalar JSON
	type Query { ok(n: Int! = 1): Boolean }
	type Mutation {
		draw(n: Int! = 1, at: Point, points: [Point!], ids: [[ID!]!]! = [], on: Boolean! = true, f: Float! = 1, color: Color, any: JSON, idempotencyKey: String!): Boolean @idempotent
		other(n: Int! = 1): Boolean
	}`

// Null is refused before anything runs, wherever a default lets gqlparser pass it, and so
// is an empty object for a scalar.
func TestOnce_RefusesValuesThatAreNotOfTheirType(t *testing.T) {
	t.Parallel()
	once := newOnce(t, pgtest.Pool(t))
	ran := 0
	server := serve(nullSDL, once, resolvers{
		"draw": func(ctx context.Context) (any, error) {
			ran++
			return gqlidem.Do(ctx, once, func(context.Context, pgx.Tx) (bool, error) { return true, nil })
		},
		"other": func(context.Context) (any, error) { ran++; return true, nil },
	})
	const end = `, idempotencyKey: "k") }`
	for document, message := range map[string]string{
		`mutation($v: Int) { draw(n: $v` + end:                                                                                          "$v: it is null, and n of draw takes Int!",
		`mutation($v: Int = 7) { draw(n: $v` + end:                                                                                      "$v: it is null, and n of draw takes Int!",
		`mutation($v: Boolean) { draw(on: $v` + end:                                                                                     "$v: it is null, and on of draw takes Boolean!",
		`mutation($v: Float) { draw(f: $v` + end:                                                                                        "$v: it is null, and f of draw takes Float!",
		`mutation($v: String = "k") { draw(idempotencyKey: $v) }`:                                                                       "$v: it is null, and idempotencyKey of draw takes String!",
		`mutation($v: Float) { draw(at: {x: $v, key: ""}` + end:                                                                         "$v: it is null, and at.x of draw takes Float!",
		`mutation($v: String = "x") { draw(at: {key: $v}` + end:                                                                         "$v: it is null, and at.key of draw takes String!",
		`mutation($v: String = "x") { draw(points: [{key: ""}, {key: "", inner: {key: $v}}]` + end:                                      "$v: it is null, and points[1].inner.key of draw takes String!",
		`mutation($v: String = "x") { draw(at: {key: "", names: ["a", $v]}` + end:                                                       "$v: it is null, and at.names[1] of draw takes String!",
		`mutation($v: ID = 1) { draw(ids: [[1], [2, $v]]` + end:                                                                         "$v: it is null, and ids[1][1] of draw takes ID!",
		`mutation($v: [ID!] = [1]) { draw(ids: [[1], $v]` + end:                                                                         "$v: it is null, and ids[1] of draw takes [ID!]!",
		`mutation($v: [[ID!]!]) { draw(ids: $v` + end:                                                                                   "$v: it is null, and ids of draw takes [[ID!]!]!",
		`mutation($v: Boolean = false) { draw(idempotencyKey: "k") @skip(if: $v) }`:                                                     "$v: it is null, and if of @skip takes Boolean!",
		`mutation($v: Boolean = true) { ... @include(if: $v) { draw(idempotencyKey: "k") } }`:                                           "$v: it is null, and if of @include takes Boolean!",
		`mutation($v: Boolean = true) { ...F @include(if: $v) } fragment F on Mutation { draw(idempotencyKey: "k") }`:                   "$v: it is null, and if of @include takes Boolean!",
		`mutation($v: Int) { ...F } fragment F on Mutation { ... { draw(idempotencyKey: "k") } other @skip(if: true) o: other(n: $v) }`: "$v: it is null, and n of other takes Int!",
		`mutation($v: Int) { draw(idempotencyKey: "k") o: other(n: $v) @skip(if: true) }`:                                               "$v: it is null, and n of other takes Int!",
		`mutation($v: Int = 1) @tag(n: $v) { draw(idempotencyKey: "k") }`:                                                               "$v: it is null, and n of @tag takes Int!",
		`mutation($v: Int @tag(n: {})) { draw(n: $v` + end:                                                                              "a value is an object, and n of @tag takes Int!",
		`mutation($v: Int = 1) { ...F } fragment F on Mutation @tag(n: $v) { draw(idempotencyKey: "k") }`:                               "$v: it is null, and n of @tag takes Int!",
		`mutation { draw(n: {}` + end:                                                                                                   "a value is an object, and n of draw takes Int!",
		`mutation { draw(at: {key: {}}` + end:                                                                                           "a value is an object, and at.key of draw takes String!",
		`mutation { draw(ids: [[{}]]` + end:                                                                                             "a value is an object, and ids[0][0] of draw takes ID!",
		`mutation { draw(color: {}` + end:                                                                                               "a value is an object, and color of draw takes Color",
		`mutation { draw(idempotencyKey: "k") ... @skip(if: {}) { other } }`:                                                            "a value is an object, and if of @skip takes Boolean!",
	} {
		r := send(t, server, document, `{"v": null}`)
		if len(r.Errors) != 1 || r.Errors[0].Message != message || r.Errors[0].Extensions["code"] != gqlidem.CodeBadUserInput || len(r.Errors[0].Locations) != 1 || r.Errors[0].Path != nil {
			t.Errorf("%s: %s, want %q", document, r.body, message)
		}
	}
	if ran != 0 {
		t.Errorf("%d fields ran", ran)
	}
	// Without the variable, the defaults are what they are for.
	for document, want := range map[string]int{
		`mutation($v: Int) { draw(n: $v` + end:                                                         1,
		`mutation { draw(at: {key: "", names: []}, points: {key: ""}, any: {}, idempotencyKey: "o") }`: 1,
		`mutation { draw(any: {a: null, b: [null, {c: null}]}, idempotencyKey: "n") }`:                 1,
		`mutation($v: Int = 7) { draw(n: $v, idempotencyKey: "l") }`:                                   1,
		`mutation($v: Float) { draw(at: {x: $v, key: ""}, idempotencyKey: "m") }`:                      1,
	} {
		before := ran
		if r := send(t, server, document); len(r.Errors) != 0 || ran-before != want {
			t.Errorf("%s: %s, and %d fields ran", document, r.body, ran-before)
		}
	}
	// What is not marked is left alone.
	for _, document := range []string{`mutation($v: Int) { other(n: $v) }`} {
		if r := send(t, server, document, `{"v": null}`); len(r.Errors) != 0 {
			t.Errorf("%s: %s", document, r.body)
		}
	}
}

// gqlparser gives a fragment's variables the default that the last operation gives them.
func TestOnce_RefusesTheDefaultOfAnotherOperation(t *testing.T) {
	t.Parallel()
	once := newOnce(t, pgtest.Pool(t))
	var seen any
	server := serve(nullSDL, once, resolvers{"draw": func(ctx context.Context) (any, error) {
		seen = graphql.GetFieldContext(ctx).Args["at"]
		return gqlidem.Do(ctx, once, func(context.Context, pgx.Tx) (bool, error) { return true, nil })
	}})
	const fragment = ` fragment F on Mutation { draw(at: {key: "", x: $v}, idempotencyKey: $k) }`
	for document, ran := range map[string]bool{
		`mutation A($v: Float, $k: String! = "a") { ...F } mutation B($v: Float = 7, $k: String! = "a") { ...F }` + fragment:                   false,
		`mutation A($v: Int) { ...G } mutation B($v: Int = 7) { ...G } fragment G on Mutation { draw(any: [{x: [$v]}], idempotencyKey: "d") }`: false,
		`mutation B($v: Float = 7, $k: String! = "b") { ...F } mutation A($v: Float, $k: String! = "b") { ...F }` + fragment:                   true,
		`mutation A($v: Float = 1, $k: String! = "c") { ...F } mutation B($v: Float = 7, $k: String! = "c") { ...F }` + fragment:               true,
	} {
		r := sendOperation(t, server, document, "A")
		if ran && (len(r.Errors) != 0 || fmt.Sprint(seen) == "map[key: x:7]") {
			t.Errorf("%s: %v was seen: %s", document, seen, r.body)
		}
		if !ran && (len(r.Errors) != 1 || r.Errors[0].Extensions["code"] != gqlidem.CodeBadUserInput || seen != nil) {
			t.Errorf("%s: %v was seen: %s", document, seen, r.body)
		}
		seen = nil
	}
}

// A fragment is looked at once, or these would take years.
func TestOnce_LooksAtEachFragmentOnce(t *testing.T) {
	t.Parallel()
	once := newOnce(t, pgtest.Pool(t))
	for _, field := range []string{`draw(n: $v, idempotencyKey: "k")`, `other(n: $v)`} {
		var document strings.Builder
		document.WriteString("mutation($v: Int) { ...F0 ...F0 }")
		for i := range 60 {
			fmt.Fprintf(&document, " fragment F%d on Mutation { ...F%d ...F%d }", i, i+1, i+1)
		}
		document.WriteString(" fragment F60 on Mutation { " + field + " }")
		doc, errs := gqlparser.LoadQueryWithRules(nullSchema, document.String(), rules.NewDefaultRules())
		if errs != nil {
			t.Fatal(errs)
		}
		if err := once.Validate(executable{schema: nullSchema}); err != nil {
			t.Fatal(err)
		}
		operation := &graphql.OperationContext{Doc: doc, Operation: doc.Operations[0], Variables: map[string]any{"v": 1}}
		if fault := once.MutateOperationContext(t.Context(), operation); fault != nil {
			t.Error(fault)
		}
		operation.Variables["v"] = nil
		if fault := once.MutateOperationContext(t.Context(), operation); (fault != nil) != strings.HasPrefix(field, "draw") {
			t.Errorf("%s: %v", field, fault)
		}
	}
}

var nullSchema = gqlparser.MustLoadSchema(&ast.Source{Input: nullSDL})

func TestCanonical_NullHasNoFormWhereTheTypeForbidsIt(t *testing.T) {
	t.Parallel()
	for document, form := range map[string]string{
		`mutation($v: Float = 1) { line(v: {points: [{x: $v}]}, idempotencyKey: "k") }`:             "",
		`mutation($v: Float = 1) { line(v: {points: [{x: 1, y: $v}]}, idempotencyKey: "k") }`:       "",
		`mutation($v: String = "") { line(v: {points: [{x: 1, label: $v}]}, idempotencyKey: "k") }`: `v1 line {"v":{"points":[{"label":null,"x":1}]}}`,
	} {
		got, err := parsed(t, "types", document, `{"v": null}`).form()
		if diff := cmp.Diff(form, got); diff != "" || (form == "") != errors.Is(err, gqlidem.ErrNotCanonical) {
			t.Errorf("%s: %v (-want +got):\n%s", document, err, diff)
		}
	}
}
