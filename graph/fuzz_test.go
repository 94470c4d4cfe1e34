package graph_test

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/onceql/onceql/graph/generated"
)

// FuzzOperations sends operations that are made from the schema, most of them valid and the
// rest nearly so. The input decides what is made.
func FuzzOperations(f *testing.F) {
	api := newFuzzed(f)
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		input := make([]byte, 400)
		for i := range input {
			input[i] = byte(random.Uint32())
		}
		f.Add(input)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		document, variables := api.operation(input)
		api.check(t, document, variables)
	})
}

// FuzzDocuments sends documents and variables whose text is mutated.
func FuzzDocuments(f *testing.F) {
	api := newFuzzed(f)
	for _, seed := range [][2]string{
		{`mutation($i: CreateProjectInput!, $k: String!) { createProject(input: $i, idempotencyKey: $k) { project { ...P } } } fragment P on Project { id name }`, `{"i":{"name":"a"},"k":"k"}`},
		{"mutation { a: createProject(input: {name: \"\"\"a\n   b\"\"\", description: null}, idempotencyKey: \"a\") @skip(if: false) { project { createdAt } } }", `{}`},
		{`mutation($b: Boolean = true) { createProject(input: {name: "a"}, idempotencyKey: "b") { project { id @skip(if: $b) } } }`, `{"b":null}`},
		{`mutation { updateProject(input: {id: "` + api.ids[0] + `", name: "b"}, idempotencyKey: "c") { project { updatedAt } } }`, `null`},
		{`query($n: Int = 1, $a: String) { projects(first: $n, after: $a, includeArchived: true) { edges { cursor node { id } } pageInfo { endCursor } } }`, `{"n":2}`},
		{`{ project(id: "` + api.ids[0] + `") { name } idempotentCall(key: "a") { operation executedAt } __typename }`, `{}`},
		{`query a { __schema { queryType { name } types { name fields { name type { kind name ofType { name } } } } } } query b { __type(name: "Project") { name } }`, `{}`},
		{"# \\uD83D\n{ projects(first: 100) { nodes { id # é\n name } } }", `{"x":[1,1.0,-0,1e400,{"a":[]}]}`},
	} {
		f.Add(seed[0], seed[1])
	}
	random := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		input := make([]byte, 300)
		for i := range input {
			input[i] = byte(random.Uint32())
		}
		document, variables := api.operation(input)
		f.Add(document, variables)
	}
	f.Fuzz(func(t *testing.T, document, variables string) { api.check(t, document, variables) })
}

// A fuzzed api has projects that documents can name.
type fuzzed struct {
	*api
	schema *ast.Schema
	// ids are those of projects, cursors of pages of them.
	ids, cursors []string
}

func newFuzzed(f *testing.F) *fuzzed {
	f.Helper()
	a := &fuzzed{api: newAPI(f), schema: generated.NewExecutableSchema(generated.Config{}).Schema()}
	for _, key := range []string{"seed-1", "seed-2", "seed-3"} {
		a.post(f.Context(), f, `mutation($k: String!) { createProject(input: {name: $k}, idempotencyKey: $k) { project { id } } }`, map[string]any{"k": key})
	}
	var page struct {
		Projects struct {
			Edges []struct {
				Cursor string
				Node   struct{ ID string }
			}
		}
	}
	got := a.post(f.Context(), f, `{ projects { edges { cursor node { id } } } }`, nil)
	if err := json.Unmarshal(got.Data, &page); err != nil || len(page.Projects.Edges) != 3 {
		f.Fatalf("%v: %s", err, got.text)
	}
	for _, edge := range page.Projects.Edges {
		a.ids, a.cursors = append(a.ids, edge.Node.ID), append(a.cursors, edge.Cursor)
	}
	return a
}

// refusals are the codes of errors that a client can bring about by what it sends.
var refusals = []string{
	"BAD_USER_INPUT", "NOT_FOUND", "CONFLICT", "GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED", "LIMIT_EXCEEDED",
	"IDEMPOTENCY_KEY_REQUIRED", "IDEMPOTENCY_KEY_INVALID", "IDEMPOTENCY_KEY_REUSED",
}

// check sends a request. Whatever it says, the server answers and knows why it refuses, no
// field that took effect is null, and what took effect is replayed when it is sent again.
func (a *fuzzed) check(t *testing.T, document, variables string) {
	t.Helper()
	query, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	body := `{"query":` + string(query) + `,"variables":` + variables + `}`
	first := a.answered(t, body)
	if len(first.took) == 0 {
		return
	}
	again := a.answered(t, body)
	for name := range first.took {
		if again.took[name] != "REPLAYED" || string(again.fields[name]) != string(first.fields[name]) {
			t.Fatalf("%s took effect, and then it is %q:\n%s\n%s\n%s", name, again.took[name], body, first.text, again.text)
		}
	}
}

// An outcome is an answer, read.
type outcome struct {
	answer
	fields map[string]json.RawMessage
	// took has the status of the fields that took effect, now or before.
	took map[string]string
}

func (a *fuzzed) answered(t *testing.T, body string) outcome {
	t.Helper()
	got := outcome{answer: a.send(t.Context(), t, body), took: map[string]string{}}
	switch {
	case got.status != http.StatusOK && got.status != http.StatusBadRequest:
		t.Fatalf("status %d:\n%s\n%s", got.status, body, got.text)
	case got.status == http.StatusBadRequest && (got.Data != nil || len(got.Errors) == 0 || len(got.text) > 32<<10):
		t.Fatalf("a refusal with data, without errors or without end:\n%s\n%.1000s", body, got.text)
	}
	for _, code := range got.codes() {
		if !slices.Contains(refusals, code) {
			t.Fatalf("an error %s:\n%s\n%s\n%s", code, body, got.text, strings.Join(a.log.all(), "\n"))
		}
	}
	if logged := a.log.all(); len(logged) > 0 {
		t.Fatalf("logged over %s\n%s", body, strings.Join(logged, "\n"))
	}
	if got.status == http.StatusOK {
		if err := json.Unmarshal(got.Data, &got.fields); err != nil {
			t.Fatalf("%v: %s", err, got.text)
		}
	}
	if extension, ok := got.Extensions["idempotency"].(map[string]any); ok {
		for name, field := range extension {
			got.took[name], _ = field.(map[string]any)["status"].(string)
			if value := string(got.fields[name]); value == "" || value == "null" {
				t.Fatalf("%s is %s and its payload %q:\n%s\n%s", name, got.took[name], value, body, got.text)
			}
		}
	}
	return got
}
