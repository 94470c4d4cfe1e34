package graph_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql"
	"github.com/google/go-cmp/cmp"

	"github.com/onceql/onceql/graph"
	"github.com/onceql/onceql/internal/pgtest"
)

const create = `createProject(input: {name: "Apollo"}, idempotencyKey: "k") { project { name } }`

// refused checks an answer to a request that must not have run.
func refused(t *testing.T, a answer, code string) {
	t.Helper()
	if a.status != http.StatusBadRequest || a.Data != nil || len(a.Errors) == 0 {
		t.Fatalf("%d %s, want a refusal", a.status, a.text)
	}
	for i, failure := range a.Errors {
		if a.codes()[i] != code || failure.Extensions["retryable"] != false || failure.Path != nil {
			t.Errorf("%s, want %s, not retryable, without a path", a.text, code)
		}
	}
}

func (a *api) stores(t testing.TB, projects int) {
	t.Helper()
	var got, keys int
	// It is asked after the test, too.
	err := a.pool.QueryRow(context.WithoutCancel(t.Context()), `select (select count(*) from projects), (select count(*) from idempotency_keys)`).Scan(&got, &keys)
	if err != nil {
		t.Fatal(err)
	}
	if got != projects || keys != projects {
		t.Errorf("%d projects and %d keys are stored, want %d", got, keys, projects)
	}
}

func TestHandler_RefusesDocumentsThatAreNotValid(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	const parse, validation, limit = "GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED", "LIMIT_EXCEEDED"
	for name, test := range map[string]struct{ document, code string }{
		"empty":                        {"", validation},
		"only a comment":               {"# mutation", validation},
		"only fragments":               {"fragment f on Mutation { " + create + " }", validation},
		"cut short":                    {"mutation { " + create, parse},
		"NUL":                          {"mutation { \x00 " + create + " }", parse},
		"lone surrogate":               {`mutation { createProject(input: {name: "\uD83D"}, idempotencyKey: "k") { project { name } } }`, parse},
		"a subscription":               {"subscription { " + create + " }", validation},
		"an operation of no type":      {"fetch { __typename }", parse},
		"@defer":                       {"mutation { ... @defer { " + create + " } }", validation},
		"@stream":                      {"{ projects { nodes @stream { id } } }", validation},
		"@idempotent":                  {"mutation @idempotent { " + create + " }", validation},
		"no key":                       {`mutation { createProject(input: {name: "x"}) { project { name } } }`, validation},
		"a key of null":                {`mutation { createProject(input: {name: "x"}, idempotencyKey: null) { project { name } } }`, validation},
		"an unknown field of an input": {`mutation { createProject(input: {name: "x", id: "1"}, idempotencyKey: "k") { project { name } } }`, validation},
		"a field of an input twice":    {`mutation { createProject(input: {name: "x", name: "y"}, idempotencyKey: "k") { project { name } } }`, validation},
		"a number for a name":          {`mutation { createProject(input: {name: 1}, idempotencyKey: "k") { project { name } } }`, validation},
		"an integer beyond 64 bits":    {"{ projects(first: 9223372036854775808) { nodes { id } } }", validation},
		"an id beyond 64 bits":         {`mutation { archiveProject(input: {id: -9223372036854775809}, idempotencyKey: "k") { project { id } } }`, validation},
		"a default beyond 64 bits":     {"query($f: Int = 9223372036854775808) { projects(first: $f) { nodes { id } } }", validation},
		"text beyond 64 bits": {
			`mutation { createProject(input: {name: "x", description: 9223372036854775808}, idempotencyKey: "k") { project { name } } }`, validation,
		},
		"a huge float":                   {"{ projects(first: 1e400) { nodes { id } } }", validation},
		"a number as the key":            {`mutation { createProject(input: {name: "x"}, idempotencyKey: 1e999999999) { project { name } } }`, validation},
		"two fields under one name":      {`{ a: project(id: "1") { id } a: project(id: "2") { id } }`, validation},
		"two operations, one anonymous":  {"query { __typename } mutation m { " + create + " }", validation},
		"a fragment that spreads itself": {"{ ...f } fragment f on Query { __typename ...f }", validation},
		"999 lists in one another":       {"{ projects(first: " + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + ") { nodes { id } } }", limit},
		"selections in one another":      {strings.Repeat("{a", 10_000) + strings.Repeat("}", 10_000), limit},
		"1001 tokens":                    {"{" + strings.Repeat(" __typename", 999) + "}", limit},
		"introspection without end":      {"{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }", limit},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, a.post(t.Context(), t, test.document, nil), test.code)
		})
	}
	t.Cleanup(func() { a.stores(t, 0) })
}

func TestHandler_NamesTheLimit(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	for document, limit := range map[string]string{
		"{" + strings.Repeat(" __typename", 999) + "}":                                               "tokens",
		"{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }":         "introspectionDepth",
		`{ __type(name: "Query") { fields { type { fields { type { inputFields { name } } } } } } }`: "introspectionDepth",
	} {
		got := a.post(t.Context(), t, document, nil)
		if got.Errors[0].Extensions["limit"] != limit {
			t.Errorf("%.50s: %s, want the limit %s", document, got.text, limit)
		}
	}
	if got := a.post(t.Context(), t, `{ project(id: "x") {`+strings.Repeat(" name", 990)+"} }", nil); got.status != http.StatusOK {
		t.Errorf("1000 tokens: %s", got.text)
	}
}

// What is executed is what counts.
func TestHandler_CountsWhatIsExecuted(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	fields := func(n int) string { return "{ nodes {" + strings.Repeat(" id", n) + " } }" }
	skipped := "{ projects(first: 100) @skip(if: true) " + fields(60) + " __typename }"
	for document, limit := range map[string]string{
		// A page has 20 items unless it says otherwise.
		"query($n: Int) { projects(first: $n) " + fields(260) + " }":     "complexity",
		"query($n: Int = 1) { projects(first: $n) " + fields(260) + " }": "",
		"{ projects " + fields(260) + " }":                               "complexity",
		"{ projects(first: 100) " + fields(60) + " }":                    "complexity",
		skipped: "",
		"query($s: Boolean = true) { ...F @skip(if: $s) __typename } fragment F on Query { projects(first: 100) " + fields(60) + " }": "",
		"query($s: Boolean = false) { ... @include(if: $s) { projects(first: 100) " + fields(60) + " } __typename }":                  "",
		"query($s: Boolean = false) { ... @include(if: $s) @skip(if: $s) { projects(first: 100) " + fields(60) + " } __typename }":    "",
		"query($s: Boolean = false) { ...F ...F @skip(if: $s) } fragment F on Query { projects(first: 100) " + fields(30) + " }":      "complexity",
		"query($s: Boolean = true) { ...F ...F @skip(if: $s) } fragment F on Query { projects(first: 100) " + fields(30) + " }":       "",
		"{ " + strings.Repeat("__typename ", 20) + "}":                                                                 "",
		"{ " + strings.Repeat("__typename ", 20) + "a: __typename }":                                                   "rootFields",
		"{ " + strings.Repeat("__typename ", 20) + "a: __typename @include(if: false) }":                               "",
		"{ __schema @skip(if: true) { queryType { name } } " + strings.Repeat("__typename @skip(if: true) ", 50) + "}": "directives",
		strings.Repeat("# no token\n", 20_000) + "{ __typename }":                                                      "",
		"{" + strings.Repeat(" __typename # no token\n", 20) + "}":                                                     "",
		"#\n{" + strings.Repeat(" __typename", 999) + "}":                                                              "tokens",
	} {
		got := a.post(t.Context(), t, document, nil)
		var exceeded any
		if len(got.Errors) > 0 {
			exceeded = got.Errors[0].Extensions["limit"]
		}
		if limit == "" && (got.status != http.StatusOK || len(got.Errors) > 0) || limit != "" && exceeded != limit {
			t.Errorf("%.150s: %.300s, want the limit %q", document, got.text, limit)
		}
	}
}

func TestHandler_RunsTheOperationThatIsNamed(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	const document = `query a { __typename } query b { b: __typename }`
	for name, message := range map[string]string{
		`"c"`:  "the document has no operation of the name in operationName",
		`"A"`:  "the document has no operation of the name in operationName",
		`""`:   "the document has more than one operation: name one in operationName",
		`null`: "the document has more than one operation: name one in operationName",
	} {
		got := a.send(t.Context(), t, `{"query":"`+document+`","operationName":`+name+`}`)
		refused(t, got, "GRAPHQL_VALIDATION_FAILED")
		if got.Errors[0].Message != message {
			t.Errorf("%s: %q, want %q", name, got.Errors[0].Message, message)
		}
	}
	got := a.send(t.Context(), t, `{"query":"`+document+`","operationName":"b"}`)
	if string(got.Data) != `{"b":"Query"}` {
		t.Errorf("%d %s", got.status, got.text)
	}
}

func TestHandler_AnswersMetaFields(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	for document, want := range map[string]string{
		`{ __typename }`:          `{"__typename":"Query"}`,
		`mutation { __typename }`: `{"__typename":"Mutation"}`,
		`{ __type(name: "DateTime") { kind name specifiedByURL } }`: `{"__type":{"kind":"SCALAR","name":"DateTime",` +
			`"specifiedByURL":"https://scalars.graphql.org/andimarek/date-time.html"}}`,
		`{ __type(name: "Nothing") { name } }`: `{"__type":null}`,
		`{ __schema { subscriptionType { name } directives { name } } }`: `{"__schema":{"subscriptionType":null,"directives":[{"name":"deprecated"},` +
			`{"name":"idempotent"},{"name":"include"},{"name":"oneOf"},{"name":"skip"},{"name":"specifiedBy"}]}}`,
	} {
		got := a.post(t.Context(), t, document, nil)
		if diff := cmp.Diff(want, string(got.Data)); diff != "" || len(got.Errors) > 0 || len(got.Extensions) > 0 {
			t.Errorf("%s: %d %s (-want +got):\n%s", document, got.status, got.text, diff)
		}
	}
}

// What nobody reads is not kept while the request runs.
func TestHandler_KeepsNoExtensionsOfARequest(t *testing.T) {
	t.Parallel()
	asked := 0
	a := makeAPI(t, pgtest.Pool(t), graph.Config{May: func(ctx context.Context, _ string) bool {
		asked++
		if kept := graphql.GetOperationContext(ctx).Extensions; kept != nil {
			t.Errorf("kept: %v", kept)
		}
		return true
	}})
	got := a.send(as(t.Context(), "a"), t, `{"query":"{ projects { nodes { id } } }","extensions":{"a":[{},{}]}}`)
	if len(got.Errors) > 0 || asked != 1 {
		t.Errorf("asked %d times: %s", asked, got.text)
	}
}
