package graph_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/99designs/gqlgen/graphql"

	"github.com/onceql/onceql/graph"
	"github.com/onceql/onceql/graph/transport"
	"github.com/onceql/onceql/internal/pgtest"
)

func TestJSONBytes_IsWhatIsWritten(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	for c := range rune(0x3000) {
		all.WriteRune(c)
	}
	for _, text := range []string{"", "x", `"\`, "\x00\x01\x1f \x7f", "\t\r\n\b\f", "ü\u2028\u2029<>&😀", all.String()} {
		var written bytes.Buffer
		graphql.MarshalString(text).MarshalGQL(&written)
		if got := graph.JSONBytes(text); got != int64(written.Len()) {
			t.Errorf("%.20q has %d bytes, want %d", text, got, written.Len())
		}
	}
}

// fillLargest stores so many projects of the largest size.
func (a *api) fillLargest(t testing.TB, tenant string, n int) {
	t.Helper()
	_, err := a.pool.Exec(t.Context(), `
		insert into projects (tenant, id, name, description, created_at, updated_at)
		select $1, gen_random_uuid(), repeat('😀', 200), repeat(chr(1), 10000), now(), now() from generate_series(1, $2)`, tenant, n)
	if err != nil {
		t.Fatal(err)
	}
}

func TestAnswer_HasAFullPageOfTheLargestProjects(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	const n = 100
	a.fillLargest(t, "", n+1)
	got := a.post(t.Context(), t, `{ projects(first: 100) { nodes { id version name description createdAt updatedAt archivedAt } } }`, nil)
	if len(got.Errors) > 0 || strings.Count(got.text, strings.Repeat(`\u0001`, 10_000)) != n || strings.Count(got.text, strings.Repeat("😀", 200)) != n {
		t.Errorf("%d bytes, %.300s, want a page of %d", len(got.text), got.text, n)
	}
}

func TestAnswer_IsNoLargerThanTheLimit(t *testing.T) {
	t.Parallel()
	const name, description = 200*4 + 2, 10_000*6 + 2
	several := func(n int, field string) string {
		var fields strings.Builder
		for i := range n {
			fmt.Fprintf(&fields, " a%d: %s", i, field)
		}
		return "{" + fields.String() + " }"
	}
	for what, test := range map[string]struct {
		limit int64
		query string
		fits  bool
	}{
		"a page":               {10 * description, `{ projects(first: 10) { nodes { id description } } }`, true},
		"a page, beyond":       {10*description - 1, `{ projects(first: 10) { nodes { id description } } }`, false},
		"nodes and edges":      {20 * description, `{ projects(first: 10) { nodes { description } edges { node { description } } } }`, true},
		"both, beyond":         {20*description - 1, `{ projects(first: 10) { nodes { description } edges { node { description } } } }`, false},
		"twice":                {20*description - 1, `{ projects(first: 10) { nodes { a: description b: description } } }`, false},
		"merged":               {10 * description, `{ projects(first: 10) { nodes { description } nodes { description } } }`, true},
		"names":                {10 * name, `{ projects(first: 10) { nodes { name } } }`, true},
		"names, beyond":        {10*name - 1, `{ projects(first: 10) { nodes { name } } }`, false},
		"side by side":         {20 * 10 * description, several(20, `projects(first: 10) { nodes { description } }`), true},
		"side by side, beyond": {20*10*description - 1, several(20, `projects(first: 10) { nodes { description } }`), false},
		"twenty full pages":    {0, several(20, `projects(first: 100) { nodes { description } }`), false},
		"what is not there":    {1, `{ projects(after: "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA") { nodes { name description } } }`, true},
		"what is not selected": {1, `{ projects(first: 10) { nodes { id } } }`, true},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			a := makeAPI(t, pgtest.Pool(t), graph.Config{MaxAnswer: test.limit})
			a.fillLargest(t, "", 101)
			got := a.post(t.Context(), t, test.query, nil)
			if fits := len(got.Errors) == 0; fits != test.fits {
				t.Fatalf("%d bytes, %.300s, fits: %t, want %t", len(got.text), got.text, fits, test.fits)
			}
			if test.fits {
				return
			}
			for _, failure := range got.Errors {
				if e := failure.Extensions; e["code"] != graph.CodeLimitExceeded || e["limit"] != "answer" || e["retryable"] != false {
					t.Errorf("%+v, want the limit answer", e)
				}
			}
			if string(got.Data) != "null" {
				t.Errorf("data beside the error: %.300s", got.Data)
			}
		})
	}
}

func TestAnswer_OfOneProjectCountsToo(t *testing.T) {
	t.Parallel()
	a := makeAPI(t, pgtest.Pool(t), graph.Config{MaxAnswer: graph.MinAnswer})
	a.fillLargest(t, "", 1)
	var id string
	if err := a.pool.QueryRow(t.Context(), `select id from projects`).Scan(&id); err != nil {
		t.Fatal(err)
	}
	project := `project(id: "` + id + `") { name description }`
	if got := a.post(t.Context(), t, `{ `+project+` }`, nil); len(got.Errors) > 0 {
		t.Errorf("the largest project with the least limit: %.300s", got.text)
	}
	got := a.post(t.Context(), t, `{ a: `+project+` b: `+project+` }`, nil)
	if len(got.Errors) != 1 || got.Errors[0].Extensions["limit"] != "answer" || !strings.Contains(string(got.Data), `:null`) || !strings.Contains(string(got.Data), `\u0001`) {
		t.Errorf("two of them: %d bytes, %.300s, want one of them refused", len(got.text), got.text)
	}
}

// Each request has the limit for itself.
func TestAnswer_CountsEachRequestAlone(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.fillLargest(t, "", 100)
	var requests sync.WaitGroup
	for range 4 {
		requests.Go(func() {
			if got := a.post(t.Context(), t, `{ projects(first: 100) { nodes { description } } }`, nil); len(got.Errors) > 0 {
				t.Errorf("%.300s", got.text)
			}
		})
	}
	requests.Wait()
}

func TestRead_WithoutATransportIsUnbounded(t *testing.T) {
	t.Parallel()
	if err := transport.Read(context.WithoutCancel(t.Context()), 1<<40); err != nil {
		t.Error(err)
	}
}
