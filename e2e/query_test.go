package e2e_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/onceql/onceql/internal/pgtest"
)

// query sends a query and decodes its data.
func query[T any](s *server, document string, variables map[string]any) T {
	s.t.Helper()
	a := s.send(request{Query: document, Variables: variables})
	var decoded struct{ Data T }
	if err := json.Unmarshal([]byte(a.raw), &decoded); err != nil || len(a.Errors) > 0 {
		s.t.Fatalf("%d %s", a.status, a.raw)
	}
	return decoded.Data
}

func TestProjects_ArePagedByKeySet(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url), connect(t, url)
	for i := range 25 {
		wantStatus(t, s.send(create(fmt.Sprint(i), fmt.Sprint("Project ", i))), "EXECUTED")
	}
	// Equal times: the id decides, and no page has a gap.
	d.exec(`update projects set created_at = date_trunc('hour', created_at)`)
	type page struct {
		Projects struct {
			Edges []struct {
				Cursor string
				Node   project
			}
			Nodes    []project
			PageInfo struct {
				HasNextPage, HasPreviousPage bool
				StartCursor, EndCursor       string
			}
		}
	}
	const document = `query ($first: Int!, $after: String, $all: Boolean!) {
		projects(first: $first, after: $after, includeArchived: $all) {
			edges { cursor node { id name } } nodes { id name } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }`
	seen := map[string]bool{}
	variables := map[string]any{"first": 10, "all": false}
	for i, size := range []int{10, 10, 5} {
		p := query[page](s, document, variables).Projects
		if len(p.Edges) != size || len(p.Nodes) != size {
			t.Fatalf("page %d has %d projects, want %d", i, len(p.Edges), size)
		}
		for j, edge := range p.Edges {
			if seen[edge.Node.ID] || edge.Node != p.Nodes[j] {
				t.Errorf("page %d: %+v was seen, or is another node: %+v", i, edge.Node, p.Nodes[j])
			}
			seen[edge.Node.ID] = true
		}
		if p.PageInfo.HasNextPage != (i < 2) || p.PageInfo.HasPreviousPage != (i > 0) ||
			p.PageInfo.StartCursor != p.Edges[0].Cursor || p.PageInfo.EndCursor != p.Edges[size-1].Cursor {
			t.Errorf("page %d: %+v", i, p.PageInfo)
		}
		variables["after"] = p.PageInfo.EndCursor
	}
	if len(seen) != 25 {
		t.Errorf("the pages have %d projects, want 25", len(seen))
	}

	var id string
	for id = range seen {
		break
	}
	wantStatus(t, s.send(request{
		Query:     `mutation ($id: ID!) { archiveProject(input: {id: $id}, idempotencyKey: "archive") { project { id archivedAt } } }`,
		Variables: map[string]any{"id": id},
	}), "EXECUTED")
	for all, want := range map[bool]int{false: 24, true: 25} {
		p := query[page](s, document, map[string]any{"first": 100, "all": all}).Projects
		if len(p.Edges) != want {
			t.Errorf("includeArchived %t lists %d projects, want %d", all, len(p.Edges), want)
		}
	}
	if p := query[struct{ Project *project }](s, `{ project(id: "018f0000-0000-7000-8000-000000000000") { id } }`, nil); p.Project != nil {
		t.Errorf("an unknown project is %+v, want null", p.Project)
	}
}

func TestIdempotentCall_TellsWhatAKeyDid(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url), connect(t, url)
	type call struct {
		IdempotentCall *struct {
			Key, Operation, RequestID string
			ExecutedAt, ExpiresAt     time.Time
			Expired                   bool
		}
	}
	ask := func(key string) call {
		return query[call](s, `query ($key: String!) { idempotentCall(key: $key) {
			key operation requestId executedAt expiresAt expired } }`, map[string]any{"key": key})
	}
	for _, key := range []string{"k", "", " no key ", "schlüssel"} {
		if got := ask(key).IdempotentCall; got != nil {
			t.Errorf("the key %q did %+v, want null", key, got)
		}
	}
	status := s.send(create("k", "Apollo"), "X-Request-Id", "r").Extensions.Idempotency["createProject"]
	got := ask("k").IdempotentCall
	if got == nil || got.Key != "k" || got.Operation != "createProject" || got.RequestID != "r" || got.Expired ||
		!got.ExecutedAt.Equal(status.ExecutedAt) || !got.ExpiresAt.Equal(status.ExpiresAt) {
		t.Errorf("the key did %+v, want what its status said: %+v", got, status)
	}
	d.exec(`update idempotency_keys set expires_at = now()`)
	if got := ask("k").IdempotentCall; got == nil || !got.Expired {
		t.Errorf("once it has expired: %+v", got)
	}
	// One in flight is not known yet.
	release := d.holdProjects()
	answered := make(chan answer, 1)
	go func() {
		a, _ := s.try(t.Context(), create("flying", "Gemini"))
		answered <- a
	}()
	eventually(t, "the effect to wait", func() bool { return d.held() == 1 })
	if got := ask("flying").IdempotentCall; got != nil {
		t.Errorf("a call in flight did %+v, want null", got)
	}
	release()
	wantStatus(t, <-answered, "EXECUTED")
}
