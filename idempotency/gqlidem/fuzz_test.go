package gqlidem_test

import (
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/formatter"
	"github.com/vektah/gqlparser/v2/parser"

	"github.com/onceql/onceql/idempotency/gqlidem"
)

// Whatever passes gqlparser's validation has a form that is JSON, the same every
// time and for the document as it is written anew, or it has none.
func FuzzCanonical(f *testing.F) {
	for _, list := range [][]vector{vectors().Vectors, vectors().Refused} {
		for _, v := range list {
			if v.Schema == "types" {
				f.Add(v.Document, v.Variables)
			}
		}
	}
	schema := schemas()["types"]
	f.Fuzz(func(t *testing.T, document, variables string) {
		c, err := parse(schema, document, "", variables)
		if err != nil {
			return
		}
		form, err := c.form()
		if again, errAgain := c.form(); again != form || (err == nil) != (errAgain == nil) {
			t.Fatalf("first %s, %v, then %s, %v", form, err, again, errAgain)
		}
		rewritten, errRewritten := parse(schema, rewrite(t, document), "", variables)
		if errRewritten != nil {
			t.Fatalf("rewritten: %v\n%s", errRewritten, rewrite(t, document))
		}
		if again, errAgain := rewritten.form(); again != form || (err == nil) != (errAgain == nil) {
			t.Fatalf("first %s, %v, rewritten %s, %v", form, err, again, errAgain)
		}
		if err != nil {
			return
		}
		checkForm(t, form)
		// The form is a request itself: read as variables, it has itself as its form.
		if _, arguments, _ := strings.Cut(form[len("v1 "):], " "); c.field.Definition.Arguments.ForName("v") != nil && arguments != "{}" {
			typ := c.field.Definition.Arguments.ForName("v").Type.String()
			of, err := parse(schema, `mutation($v: `+typ+`) { `+c.field.Name+`(v: $v, idempotencyKey: "k") }`, "", arguments)
			if err != nil {
				t.Fatalf("the form as variables: %v: %s", err, form)
			}
			if again, err := of.form(); again != form {
				t.Fatalf("the form as variables: %s, %v, want %s", again, err, form)
			}
		}
	})
}

// rewrite formats the document.
func rewrite(t *testing.T, document string) string {
	t.Helper()
	doc, err := parser.ParseQuery(&ast.Source{Input: gqlidem.BlockStrings(document)})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	formatter.NewFormatter(&b).FormatQueryDocument(doc)
	return b.String()
}
