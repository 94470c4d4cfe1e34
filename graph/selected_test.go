package graph_test

import (
	"strings"
	"testing"
)

// countDescriptions makes the database count the descriptions that are read, and returns what
// tells how many they were since it was called last. Nothing can be written any more.
func (a *api) countDescriptions(t *testing.T) (read func() int) {
	t.Helper()
	for _, sql := range []string{
		`create sequence descriptions_read`,
		// Were it said to be volatile, each would be read.
		`create function counted(text) returns text stable language plpgsql as $$ begin perform nextval('descriptions_read'); return $1; end $$`,
		`alter table projects rename to stored`,
		`create view projects as select tenant, id, version, name, counted(description) as description, created_at, updated_at, archived_at from stored`,
	} {
		if _, err := a.pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	before := 1 // nextval returns it even when nothing was read.
	return func() int {
		t.Helper()
		var now int
		if err := a.pool.QueryRow(t.Context(), `select nextval('descriptions_read')`).Scan(&now); err != nil {
			t.Fatal(err)
		}
		n := now - before
		before = now + 1
		return n
	}
}

func TestDescriptions_AreReadWhereTheyAreSelected(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	const n = 5
	a.fill(t, "", n)
	if _, err := a.pool.Exec(t.Context(), `update projects set description = 'told'`); err != nil {
		t.Fatal(err)
	}
	var id string
	if err := a.pool.QueryRow(t.Context(), `select id from projects`).Scan(&id); err != nil {
		t.Fatal(err)
	}
	read := a.countDescriptions(t)
	for name, test := range map[string]struct {
		query      string
		read, told int
	}{
		"ids":                       {`{ projects { nodes { id name } edges { cursor node { id } } pageInfo { endCursor } } }`, 0, 0},
		"nodes":                     {`{ projects { nodes { description } } }`, n, n},
		"edges":                     {`{ projects { edges { node { description } } } }`, n, n},
		"both":                      {`{ projects { edges { node { description } } nodes { description } } }`, n, 2 * n},
		"merged":                    {`{ projects { nodes { id } nodes { description } } }`, n, n},
		"twice":                     {`{ projects { a: nodes { b: description c: description } } }`, n, 2 * n},
		"another field's alias":     {`{ projects { nodes { description: name } } }`, 0, 0},
		"in a fragment":             {`{ projects { ...c } } fragment c on ProjectConnection { nodes { ...p } } fragment p on Project { description }`, n, n},
		"in an inline fragment":     {`{ projects { ... { edges { ... on ProjectEdge { node { ... on Project { description } } } } } } }`, n, n},
		"skipped":                   {`query($yes: Boolean! = true) { projects { nodes { id description @skip(if: $yes) } } }`, 0, 0},
		"not included":              {`query($no: Boolean! = false) { projects { nodes { id ... @include(if: $no) { description } } } }`, 0, 0},
		"included":                  {`query($yes: Boolean! = true) { projects { nodes { id ... @include(if: $yes) { description } } } }`, n, n},
		"on one of two pages":       {`{ a: projects(first: 2) { nodes { id } } b: projects(first: 5) { nodes { description } } }`, n, n},
		"after a cursor":            {`{ projects(after: "AQAGVd1Bq1JAAAAAAAAAAAAAAAAAAAAAAA") { nodes { description } } }`, n, n},
		"of a project":              {`{ project(id: "` + id + `") { description } }`, 1, 1},
		"of a project, in fragment": {`{ project(id: "` + id + `") { ...p } } fragment p on Project { description }`, 1, 1},
		"nothing of a project":      {`{ project(id: "` + id + `") { id name } }`, 0, 0},
	} {
		got := a.post(t.Context(), t, test.query, nil)
		told := strings.Count(got.text, `"told"`)
		if read := read(); len(got.Errors) > 0 || read != test.read || told != test.told {
			t.Errorf("%s: %d descriptions are read and %d told, want %d and %d: %s", name, read, told, test.read, test.told, got.text)
		}
	}
}
