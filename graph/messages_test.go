package graph_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"github.com/onceql/onceql/graph"
)

// What gqlparser and gqlgen say is all that tells some errors apart. Another version of
// theirs may say it differently: then this fails, and the code of the error is wrong.
func TestMessages_AreTheLibrarys(t *testing.T) {
	t.Parallel()
	_, tooLong := parser.ParseQueryWithTokenLimit(&ast.Source{Input: "{ a b c }"}, 3)
	_, tooDeep := parser.ParseQuery(&ast.Source{Input: "{a(b:" + strings.Repeat("[", parser.MaxNestingDepth)})
	schema := gqlparser.MustLoadSchema(&ast.Source{Input: "type Query { a(i: Int, f: Float): Int }"})
	coerce := func(typ, number string) error {
		document, errs := gqlparser.LoadQueryWithRules(schema, "query($v: "+typ+") { a("+strings.ToLower(typ[:1])+": $v) }", rules.NewDefaultRules())
		if errs != nil {
			t.Fatal(errs)
		}
		_, err := validator.VariableValues(schema, document.Operations[0], map[string]any{"v": json.Number(number)})
		return err
	}
	for _, test := range []struct {
		err       error
		start, to string
	}{
		{tooLong, graph.MessageTokenLimit, "3"},
		{tooDeep, graph.MessageNesting, "1000"},
		{coerce("Int", "1.5"), graph.MessageNumber, "0 as Int"},
		{coerce("Int", "99999999999999999999"), graph.MessageNumber, "9223372036854775807 as Int"},
		{coerce("Float", "1e400"), graph.MessageNumber, "+Inf as Float"},
	} {
		failure, ok := test.err.(*gqlerror.Error) //nolint:errorlint // So does gqlgen.
		if !ok || failure.Message != test.start+test.to {
			t.Errorf("%v, want %q", test.err, test.start+test.to)
		}
	}
	if errcode.ParseFailed != "GRAPHQL_PARSE_FAILED" || errcode.ValidationFailed != "GRAPHQL_VALIDATION_FAILED" {
		t.Errorf("gqlgen has the codes %s and %s", errcode.ParseFailed, errcode.ValidationFailed)
	}
	if _, known := rules.NewDefaultRules().GetInner()[rules.MaxIntrospectionDepth.Name]; !known {
		t.Errorf("gqlparser has no rule %s", rules.MaxIntrospectionDepth.Name)
	}
}

// The same through the handler, whatever the library's way to it.
func TestHandler_KnowsTheLibrarysErrors(t *testing.T) {
	t.Parallel()
	roomy := newAPIWith(t, graph.Limits{Tokens: 10_000})
	deep := "{ projects(first: " + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + ") { nodes { id } } }"
	for name, test := range map[string]struct{ document, variables, code, limit, message string }{
		"tokens":        {"{" + strings.Repeat(" __typename", 10_000) + "}", `{}`, "LIMIT_EXCEEDED", "tokens", "the document has more tokens than the limit of 10000"},
		"nesting":       {deep, `{}`, "LIMIT_EXCEEDED", "depth", "the document nests deeper than 1000"},
		"a number":      {"query($f: Int) { projects(first: $f) { __typename } }", `{"f":1.5}`, "BAD_USER_INPUT", "", "$f: cannot use this number as Int"},
		"not GraphQL":   {"{", `{}`, "GRAPHQL_PARSE_FAILED", "", `Expected Name, found <EOF>`},
		"not valid":     {"{ a }", `{}`, "GRAPHQL_VALIDATION_FAILED", "", `Cannot query field "a" on type "Query".`},
		"no operation":  {"query a { __typename } query b { __typename }", `{}`, "GRAPHQL_VALIDATION_FAILED", "", "the document has more than one operation: name one in operationName"},
		"introspection": {"{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }", `{}`, "LIMIT_EXCEEDED", "introspectionDepth", "the introspection nests lists too deeply"},
	} {
		body, err := json.Marshal(map[string]any{"query": test.document, "variables": json.RawMessage(test.variables)})
		if err != nil {
			t.Fatal(err)
		}
		got := roomy.send(t.Context(), t, string(body))
		refused(t, got, test.code)
		limit, _ := got.Errors[0].Extensions["limit"].(string)
		if limit != test.limit || got.Errors[0].Message != test.message {
			t.Errorf("%s: limit %q, %q, want %q, %q", name, limit, got.Errors[0].Message, test.limit, test.message)
		}
	}
}
