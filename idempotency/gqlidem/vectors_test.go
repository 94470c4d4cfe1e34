package gqlidem_test

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/99designs/gqlgen/graphql"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"
	"pgregory.net/rapid"

	"github.com/onceql/onceql/idempotency/gqlidem"
)

//go:embed testdata/fingerprint_v1.json
var vectorsJSON []byte

// A vector is one call; Form and SHA256 are empty for those that are refused.
type vector struct{ Name, Schema, Document, OperationName, Variables, Form, SHA256 string }

var vectors = sync.OnceValue(func() (v struct {
	About            string
	Schemas          map[string][]string
	Vectors          []vector
	Equal, Different [][]string
	Refused          []vector
},
) {
	decoder := json.NewDecoder(bytes.NewReader(vectorsJSON))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&v); err != nil {
		panic(err)
	}
	return v
})

// schemas are those of the vectors, by their names.
var schemas = sync.OnceValue(func() map[string]*ast.Schema {
	loaded := map[string]*ast.Schema{}
	for name, lines := range vectors().Schemas {
		loaded[name] = gqlparser.MustLoadSchema(&ast.Source{Name: name, Input: strings.Join(lines, "\n")})
	}
	return loaded
})

// A call is what gqlgen knows of a call when it resolves the field.
type call struct {
	schema    *ast.Schema
	field     *ast.Field
	variables map[string]any
}

func (c call) form() (string, error) {
	form, err := gqlidem.Canonical(c.schema, c.field, c.variables, gqlidem.KeyArgument, 1)
	return string(form), err
}

// parse reads a request as gqlgen does: it parses and validates the document,
// decodes the variables with their numbers as they are written, and coerces them.
func parse(schema *ast.Schema, document, operationName, variables string) (call, error) {
	doc, err := parser.ParseQuery(&ast.Source{Input: gqlidem.BlockStrings(document)})
	if err != nil {
		return call{}, err
	}
	if errs := validator.ValidateWithRules(schema, doc, rules.NewDefaultRules()); len(errs) > 0 {
		return call{}, errs
	}
	operation := doc.Operations.ForName(operationName)
	if operation == nil {
		return call{}, fmt.Errorf("no operation %q", operationName)
	}
	if !jsontext.Value(variables).IsValid() { // Duplicates and half surrogate pairs, which encoding/json takes.
		return call{}, errors.New("the variables are no JSON")
	}
	raw := map[string]any{}
	decoder := json.NewDecoder(strings.NewReader(variables))
	decoder.UseNumber()
	if err := decoder.Decode(&raw); err != nil {
		return call{}, err
	}
	coerced, err := validator.VariableValues(schema, operation, raw)
	if err != nil {
		return call{}, err
	}
	fields := graphql.CollectFields(&graphql.OperationContext{Doc: doc, Variables: coerced}, operation.SelectionSet, []string{"Mutation"})
	if len(fields) != 1 {
		return call{}, fmt.Errorf("%d fields, want 1", len(fields))
	}
	return call{schema, fields[0].Field, coerced}, nil
}

// parsed is the call of a document, against a schema of the vectors, that has one
// operation.
func parsed(t testing.TB, schema, document, variables string) call {
	t.Helper()
	c, err := parse(schemas()[schema], document, "", variables)
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, document, variables)
	}
	return c
}

func (v vector) form() (string, error) {
	c, err := parse(schemas()[v.Schema], v.Document, v.OperationName, v.Variables)
	if err != nil {
		return "", err
	}
	form, err := c.form()
	if err == nil {
		var sum [32]byte
		sum, err = gqlidem.Fingerprint(c.schema, c.field, c.variables, gqlidem.KeyArgument, 1)
		if err == nil && sum != sha256.Sum256([]byte(form)) {
			err = errors.New("the fingerprint is not the SHA-256 of the form")
		}
	}
	return form, err
}

func TestVectors_FormAndFingerprint(t *testing.T) {
	t.Parallel()
	for _, v := range vectors().Vectors {
		form, err := v.form()
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		sum := sha256.Sum256([]byte(form))
		if form != v.Form || hex.EncodeToString(sum[:]) != v.SHA256 {
			t.Errorf("%s:\n got %s\n     %x\nwant %s\n     %s", v.Name, form, sum, v.Form, v.SHA256)
		}
	}
}

// The file is the specification for others: it has to be right by itself.
func TestVectors_AreConsistent(t *testing.T) {
	t.Parallel()
	forms := map[string]string{}
	for _, v := range vectors().Vectors {
		if _, twice := forms[v.Name]; twice {
			t.Errorf("%s: twice", v.Name)
		}
		forms[v.Name] = v.Form
		if sum := sha256.Sum256([]byte(v.Form)); hex.EncodeToString(sum[:]) != v.SHA256 {
			t.Errorf("%s: the hash is not the form's", v.Name)
		}
		checkForm(t, v.Form)
	}
	for _, names := range vectors().Equal {
		for _, name := range names {
			if form, known := forms[name]; !known || form != forms[names[0]] {
				t.Errorf("%s and %s: %s and %s, want one form", names[0], name, forms[names[0]], form)
			}
		}
	}
	for _, names := range vectors().Different {
		seen := map[string]string{}
		for _, name := range names {
			form, known := forms[name]
			if other, same := seen[form]; !known || same {
				t.Errorf("%s and %s: %s, want a form each", other, name, form)
			}
			seen[form] = name
		}
	}
}

func TestVectors_RefusedHaveNoForm(t *testing.T) {
	t.Parallel()
	for _, v := range vectors().Refused {
		if form, err := v.form(); err == nil {
			t.Errorf("%s has the form %s", v.Name, form)
		}
	}
}

// checkForm reads a canonical form independently of what made it: the version, a
// name, and a JSON object that RFC 8785 would not order or quote otherwise.
func checkForm(t rapid.TB, form string) {
	t.Helper()
	version, rest, _ := strings.Cut(form, " ")
	name, object, found := strings.Cut(rest, " ")
	if !found || version != "v1" || strings.Trim(name, "_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") != "" {
		t.Fatalf("the form begins neither with a version nor with a name: %s", form)
	}
	if !strings.HasPrefix(object, "{") {
		t.Fatalf("the arguments are not an object: %s", form)
	}
	canonical := jsontext.Value(object)
	// The numbers stay as they are: those of scalars of the schema's own are not doubles.
	if err := canonical.Format(
		jsontext.CanonicalizeRawFloats(false), jsontext.CanonicalizeRawInts(false),
		jsontext.ReorderRawObjects(true), jsontext.PreserveRawStrings(false),
	); err != nil {
		t.Fatalf("%v: %s", err, form)
	}
	if string(canonical) != object {
		t.Fatalf("RFC 8785 has another form:\n got %s\nwant %s", object, canonical)
	}
}
