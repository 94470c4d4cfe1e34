package graph_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type page struct {
	Edges []struct {
		Cursor string
		Node   struct{ Name string }
	}
	Nodes    []struct{ Name string }
	PageInfo struct {
		HasNextPage, HasPreviousPage bool
		StartCursor, EndCursor       *string
	}
}

func (p page) names() []string {
	names := []string{}
	for _, node := range p.Nodes {
		names = append(names, node.Name)
	}
	return names
}

// list returns a page, or the code of the one error.
func (a *api) list(ctx context.Context, t testing.TB, variables map[string]any) (page, string) {
	t.Helper()
	got := a.post(ctx, t, `query($first: Int! = 20, $after: String, $archived: Boolean! = false) {
		projects(first: $first, after: $after, includeArchived: $archived) {
			edges { cursor node { name } } nodes { name } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
		}
	}`, variables)
	var data struct{ Projects page }
	if err := json.Unmarshal(got.Data, &data); err != nil {
		t.Fatalf("%v: %s", err, got.text)
	}
	p := data.Projects
	if len(p.Edges) != len(p.Nodes) {
		t.Errorf("%d edges and %d nodes", len(p.Edges), len(p.Nodes))
	}
	for i, edge := range p.Edges {
		if edge.Node != p.Nodes[i] {
			t.Errorf("edge %d is %v, node %v", i, edge.Node, p.Nodes[i])
		}
	}
	if n := len(p.Edges); n > 0 && (p.Edges[0].Cursor != *p.PageInfo.StartCursor || p.Edges[n-1].Cursor != *p.PageInfo.EndCursor) {
		t.Errorf("the page's cursors are not those of its edges: %+v", p)
	}
	return p, got.code(t)
}

// fill stores projects named 0 to n-1, three to each instant, for a tenant.
func (a *api) fill(t testing.TB, tenant string, n int) {
	t.Helper()
	_, err := a.pool.Exec(t.Context(), `
		insert into projects (tenant, id, name, created_at, updated_at)
		select $1, gen_random_uuid(), i, at, at
		from generate_series(0, $2 - 1) i, lateral (select timestamptz '2026-01-31T12:00:00.123456Z' + i / 3 * interval '1 microsecond' as at) a`,
		tenant, n)
	if err != nil {
		t.Fatal(err)
	}
}

func TestProjects_ComeInPages(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	const n = 103
	a.fill(t, "", n)
	a.fill(t, "another", 5)
	for _, size := range []int{1, 7, 100} {
		var names []string
		var after *string
		for {
			p, code := a.list(t.Context(), t, map[string]any{"first": size, "after": after})
			if code != "" || len(p.Nodes) > size || len(p.Nodes) == 0 {
				t.Fatalf("%q, a page of %d, %d asked for", code, len(p.Nodes), size)
			}
			if p.PageInfo.HasPreviousPage != (after != nil) || p.PageInfo.HasNextPage != (len(names)+len(p.Nodes) < n) {
				t.Errorf("after %d: %+v", len(names), p.PageInfo)
			}
			names = append(names, p.names()...)
			if !p.PageInfo.HasNextPage {
				break
			}
			after = p.PageInfo.EndCursor
		}
		// Newest first; within one instant in the order of their ids.
		for i, name := range names {
			var number int
			fmt.Sscan(name, &number)
			if number/3 != (n-1-i)/3 {
				t.Errorf("pages of %d: project %s is in place %d", size, name, i)
			}
		}
		slices.Sort(names)
		if len(slices.Compact(names)) != n {
			t.Errorf("pages of %d have %d projects, want %d", size, len(names), n)
		}
	}
}

func TestProjects_AreTwentyToAPageByDefault(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.fill(t, "", 21)
	if p, code := a.list(t.Context(), t, nil); code != "" || len(p.Nodes) != 20 || !p.PageInfo.HasNextPage {
		t.Errorf("%q, %d projects, %+v", code, len(p.Nodes), p.PageInfo)
	}
}

func TestProjects_ComeAsAnEmptyPageWhereThereAreNone(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	got := a.post(t.Context(), t, `{ projects { edges { cursor } nodes { id } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }`, nil)
	const want = `{"projects":{"edges":[],"nodes":[],"pageInfo":{"hasNextPage":false,"hasPreviousPage":false,"startCursor":null,"endCursor":null}}}`
	if diff := cmp.Diff(want, string(got.Data)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", got.text, diff)
	}
}

func TestProjects_AreOneToAHundredToAPage(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	for _, first := range []int{0, 101, -1, 2147483647, -2147483648, 2147483648} {
		if _, code := a.list(t.Context(), t, map[string]any{"first": first}); code != "BAD_USER_INPUT" {
			t.Errorf("first: %d is %q", first, code)
		}
	}
}

func TestProjects_HideArchivedOnes(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.succeed(t, "createProject", `{"name":"a"}`)
	b := a.succeed(t, "createProject", `{"name":"b"}`)
	a.succeed(t, "createProject", `{"name":"c"}`)
	before, _ := a.list(t.Context(), t, map[string]any{"first": 2})
	a.succeed(t, "archiveProject", `{"id":"`+b.ID+`"}`)
	for archived, want := range map[bool][]string{false: {"c", "a"}, true: {"c", "b", "a"}} {
		if p, _ := a.list(t.Context(), t, map[string]any{"archived": archived}); cmp.Diff(want, p.names()) != "" {
			t.Errorf("includeArchived: %t: %v, want %v", archived, p.names(), want)
		}
	}
	// A cursor tells a place, whatever became of the project there.
	if p, _ := a.list(t.Context(), t, map[string]any{"after": before.PageInfo.EndCursor}); cmp.Diff([]string{"a"}, p.names()) != "" {
		t.Errorf("after the archived project: %v", p.names())
	}
}

func TestProjects_RefuseWhatIsNoCursor(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.fill(t, "", 2)
	first, _ := a.list(t.Context(), t, map[string]any{"first": 1})
	cursor := *first.PageInfo.EndCursor
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		t.Fatal(err)
	}
	altered := func(i int, to byte) string {
		changed := slices.Clone(raw)
		changed[i] = to
		return base64.RawURLEncoding.EncodeToString(changed)
	}
	for name, after := range map[string]string{
		"nothing":                   "",
		"a number":                  "1",
		"text":                      "the next page, please",
		"NUL":                       "\x00",
		"an id":                     "01890a5d-ac96-774b-bcce-b302099a8057",
		"a byte less":               cursor[:len(cursor)-2],
		"a byte more":               cursor + "AA",
		"padded":                    cursor + "==",
		"a line break at the end":   cursor + "\n",
		"a line break within":       cursor[:4] + "\r\n" + cursor[4:],
		"bits after the end":        cursor[:len(cursor)-1] + "_",
		"another alphabet":          strings.Repeat("+/", 17),
		"another version":           altered(0, 2),
		"before 1970":               altered(1, 0xff),
		"after 9999":                altered(1, 0x7f),
		"as long as a body, nearly": strings.Repeat("A", 1_000_000),
	} {
		if _, code := a.list(t.Context(), t, map[string]any{"after": after}); code != "BAD_USER_INPUT" {
			t.Errorf("%s is %q", name, code)
		}
	}
}

func TestProjects_ShowOnesOwnAfterAnothersCursor(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.fill(t, "", 3)
	a.fill(t, "another", 9)
	another := as(t.Context(), "another")
	theirs, _ := a.list(another, t, map[string]any{"first": 1})
	p, code := a.list(t.Context(), t, map[string]any{"after": theirs.PageInfo.EndCursor})
	if code != "" || len(p.Nodes) != 3 || p.PageInfo.HasNextPage {
		t.Errorf("%q, %v", code, p.names())
	}
}
