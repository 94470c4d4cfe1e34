package graph_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"github.com/onceql/onceql/graph"
	"github.com/onceql/onceql/graph/generated"
	"github.com/onceql/onceql/internal/pgtest"
)

// A parsedDocument is one that passed validation.
func parsedDocument(t testing.TB, query string) *ast.QueryDocument {
	t.Helper()
	document, err := parser.ParseQuery(&ast.Source{Input: query})
	if err != nil {
		t.Fatal(err)
	}
	if errs := validator.ValidateWithRules(generated.NewExecutableSchema(generated.Config{}).Schema(), document, rules.NewDefaultRules()); errs != nil {
		t.Fatal(errs)
	}
	return document
}

// A cacheFixture is a cache that knows the tenant of a context.
type cacheFixture struct {
	t testing.TB
	*graph.DocumentCache
}

func newCache(t testing.TB, bytes int) cacheFixture {
	t.Helper()
	return cacheFixture{t, graph.NewDocumentCache(bytes, tenantOf)}
}

// send does what a request of the tenant does to the cache, and says whether the document
// was there.
func (f cacheFixture) send(tenant, query string) (was bool) {
	f.t.Helper()
	ctx := as(f.t.Context(), tenant)
	document, was := f.Get(ctx, query)
	if !was {
		document = parsedDocument(f.t, query)
		f.Add(ctx, query, document)
	}
	if err := f.MutateOperationContext(ctx, &graphql.OperationContext{RawQuery: query, Doc: document}); err != nil {
		f.t.Fatal(err)
	}
	return was
}

func numbered(i int) string { return fmt.Sprintf("query number%d { projects { nodes { id } } }", i) }

// A flood of different documents pushes out its sender's own.
func TestDocumentCache_IsSharedFairly(t *testing.T) {
	t.Parallel()
	const most = 256 << 10
	cache := newCache(t, most)
	for i := range 20 {
		cache.send("a", numbered(i))
	}
	for i := range 5 {
		cache.send("c", numbered(100+i))
	}
	for i := range 1000 {
		cache.send("b", numbered(1000+i))
		if kept, counted := cache.Kept(); kept > most || kept != counted {
			t.Fatalf("%d bytes are kept, counted as %d, want at most %d", counted, kept, most)
		}
	}
	for i := range 20 {
		if !cache.send("c", numbered(i)) { // It is everybody's, whoever sent it first.
			t.Errorf("document %d of a is gone", i)
		}
	}
	for i := range 5 {
		if !cache.send("c", numbered(100+i)) {
			t.Errorf("document %d of c is gone", i)
		}
	}
	for i, want := range map[int]bool{1999: true, 1000: false} {
		if cache.send("b", numbered(i)) != want {
			t.Errorf("document %d of b is kept: %t, want %t", i, !want, want)
		}
	}
	// What is used stays.
	for i := range 1000 {
		cache.send("b", numbered(2000+i))
		if i > 0 && !cache.send("b", numbered(2000)) {
			t.Fatalf("a document that is used is gone after %d others", i)
		}
	}
}

func TestDocumentCache_KeepsADocumentOnce(t *testing.T) {
	t.Parallel()
	var both sync.WaitGroup // Neither finds it, and both would keep it.
	both.Add(2)
	cache := cacheFixture{t, graph.NewDocumentCache(256<<10, func(ctx context.Context) (string, error) {
		both.Done()
		both.Wait()
		return tenantOf(ctx)
	})}
	var sending sync.WaitGroup
	for _, tenant := range []string{"a", "b"} {
		sending.Go(func() { cache.send(tenant, numbered(0)) })
	}
	sending.Wait()
	if kept, counted := cache.Kept(); kept != counted {
		t.Errorf("%d bytes are kept, counted as %d", counted, kept)
	}
}

// A tenant all of whose documents are gone is not known any more.
func TestDocumentCache_ForgetsTenants(t *testing.T) {
	t.Parallel()
	const most = 256 << 10
	cache := newCache(t, most)
	for i := range 1000 {
		tenant := fmt.Sprint("tenant ", i)
		cache.send(tenant, numbered(1000+2*i))
		cache.send(tenant, numbered(1001+2*i))
		if kept, counted := cache.Kept(); kept > most || kept != counted {
			t.Fatalf("%d bytes are kept, counted as %d, want at most %d", counted, kept, most)
		}
	}
}

func TestDocumentCache_KeepsNoLargeDocuments(t *testing.T) {
	t.Parallel()
	cache := newCache(t, 256<<10)
	for query, kept := range map[string]bool{
		`{ project(id: "` + strings.Repeat("x", 1000) + `") { id } }`: true,
		`{ project(id: "` + strings.Repeat("x", 4000) + `") { id } }`: false,
		"{" + strings.Repeat(" __typename", 20) + "}":                 false,
	} {
		cache.send("a", query)
		if got := cache.send("a", query); got != kept {
			t.Errorf("a document of %d bytes is kept: %t, want %t", len(query), got, kept)
		}
	}
}

// What the limits refuse, or comes with variables that do not fit, is not kept.
func TestHandler_KeepsOnlyDocumentsThatRun(t *testing.T) {
	t.Parallel()
	const page = `query ($f: Int!) { projects(first: $f) { nodes { id } } }`
	kept := 0 // A document that is kept is somebody's.
	a := makeAPI(t, pgtest.Pool(t), graph.Config{Tenant: func(ctx context.Context) (string, error) {
		if graphql.HasOperationContext(ctx) && graphql.GetOperationContext(ctx).Operation != nil {
			kept++
		}
		return "", nil
	}})
	for _, c := range []struct {
		query     string
		variables map[string]any
		code      string
		kept      int
	}{
		{"{" + strings.Repeat(" __typename", 25) + "}", nil, "LIMIT_EXCEEDED", 0},
		{page, map[string]any{"f": "many"}, "BAD_USER_INPUT", 0},
		{"{ nothing }", nil, "GRAPHQL_VALIDATION_FAILED", 0},
		{page, map[string]any{"f": 1}, "", 1},
		{page, map[string]any{"f": 2}, "", 1},
		{"{ __typename }", nil, "", 2},
	} {
		got := a.post(t.Context(), t, c.query, c.variables)
		if got.code(t) != c.code || kept != c.kept {
			t.Errorf("%s: %s and %d documents are kept, want %s and %d", c.query, got.text, kept, c.code, c.kept)
		}
	}
}

// The cache is bounded by what it counts: that has to be what is taken.
func TestDocumentBytes_AreThoseThatAreTaken(t *testing.T) {
	for name, query := range map[string]string{
		"small":      `query q%d { __typename }`,
		"mutation":   `mutation q%d($input: CreateProjectInput!, $key: String!) { createProject(input: $input, idempotencyKey: $key) { project { id name description } } }`,
		"fields":     `query q%d { projects { nodes {` + strings.Repeat(" id name", 50) + `} } }`,
		"metafields": `query q%d {` + strings.Repeat(" __typename", 100) + `}`,
		"arguments":  `query q%d {` + strings.Repeat(` projects(first: 10, includeArchived: true, after: "x") { nodes { id } }`, 10) + `}`,
		"directives": `query q%d {` + strings.Repeat(` __typename @include(if: true)`, 30) + `}`,
		"fragments":  `query q%d { __schema { types { ...F } } } fragment F on __Type { fields { ...G } } fragment G on __Field { name type { ... on __Type { kind name } } }`,
	} {
		const n = 200
		documents, counted := make([]*ast.QueryDocument, n), 0
		before := heap()
		for i := range documents {
			query := fmt.Sprintf(query, 1000+i)
			documents[i] = parsedDocument(t, query)
			counted += graph.DocumentBytes(query, documents[i])
		}
		took := heap() - before
		runtime.KeepAlive(documents)
		if ratio := float64(counted) / float64(took); ratio < 0.9 || ratio > 3 {
			t.Errorf("%s: counted as %d bytes each, and takes %d", name, counted/n, took/n)
		}
	}
}

func heap() int {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return int(stats.HeapAlloc)
}
