package e2e_test

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/onceql/onceql/internal/pgtest"
)

const versioned = `{ project { id version name description createdAt updatedAt archivedAt } }`

// edit asks for the project to be changed so.
func edit(key, id string, change map[string]any) request {
	input := maps.Clone(change)
	input["id"] = id
	return request{
		Query: `mutation ($input: UpdateProjectInput!, $key: String!) {
			updateProject(input: $input, idempotencyKey: $key) ` + versioned + ` }`,
		Variables: map[string]any{"key": key, "input": input},
	}
}

// ifVersion is what edit takes to change the name of one version alone.
func ifVersion(version any, name string) map[string]any {
	return map[string]any{"ifVersion": version, "name": name}
}

// archived asks for the project to be archived, or else to be taken back.
func archived(key, id string, into bool) request {
	field, input := "unarchiveProject", "UnarchiveProjectInput"
	if into {
		field, input = "archiveProject", "ArchiveProjectInput"
	}
	return request{
		Query: `mutation ($input: ` + input + `!, $key: String!) {
			` + field + `(input: $input, idempotencyKey: $key) ` + versioned + ` }`,
		Variables: map[string]any{"key": key, "input": map[string]any{"id": id}},
	}
}

func wantVersion(t testing.TB, a answer, status string, want int) {
	t.Helper()
	wantStatus(t, a, status)
	if got := a.project().Version; got != want {
		t.Errorf("version %d, want %d: %s", got, want, a.raw)
	}
}

// wantConflict checks that the answer is a refusal that tells the version.
func wantConflict(t testing.TB, a answer, current int) {
	t.Helper()
	if f := a.failure(); f.Code != "CONFLICT" || f.Retryable || f.CurrentVersion != current || len(a.Extensions.Idempotency) > 0 {
		t.Errorf("%d %s, want a CONFLICT with version %d", a.status, a.raw, current)
	}
}

func TestVersion_RisesWithEachChangeAndNothingElse(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url), connect(t, url)
	id := s.send(create("create", "Apollo")).project().ID
	for n, step := range []struct {
		call func(key string) request
		want int
	}{
		{func(key string) request { return edit(key, id, map[string]any{}) }, 1},
		{func(key string) request { return edit(key, id, map[string]any{"name": " Apollo "}) }, 1},
		{func(key string) request { return edit(key, id, map[string]any{"name": "Gemini"}) }, 2},
		{func(key string) request { return edit(key, id, map[string]any{"description": nil}) }, 2},
		{func(key string) request { return edit(key, id, map[string]any{"description": ""}) }, 3},
		{func(key string) request { return edit(key, id, map[string]any{"description": ""}) }, 3},
		{func(key string) request { return archived(key, id, false) }, 3},
		{func(key string) request { return archived(key, id, true) }, 4},
		{func(key string) request { return archived(key, id, true) }, 4},
		{func(key string) request { return edit(key, id, map[string]any{"name": "Apollo", "description": nil}) }, 5},
		{func(key string) request { return archived(key, id, false) }, 6},
		{func(key string) request { return archived(key, id, false) }, 6},
	} {
		key := fmt.Sprint("step ", n)
		a := s.send(step.call(key))
		wantVersion(t, a, "EXECUTED", step.want)
		wantReplayOf(t, a, s.send(step.call(key)))
		found := query[payload](s, `query ($id: ID!) `+"{ project(id: $id) { version archivedAt } }", map[string]any{"id": id}).Project
		if found.Version != step.want || (found.ArchivedAt != nil) != (step.want == 4 || step.want == 5) {
			t.Errorf("after step %d it is %+v", n, found)
		}
	}
	unknown := "018f0000-0000-7000-8000-000000000000"
	wantCode(t, s.send(archived("unknown", unknown, false)), "NOT_FOUND")
	wantCode(t, s.send(archived("malformed", "1", false)), "BAD_USER_INPUT")
	d.wantStored(1, 13)
}

func TestIfVersion_OfAnotherVersionIsAConflictThatConsumesNoKey(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url), connect(t, url)
	id := s.send(create("create", "Apollo")).project().ID
	for _, version := range []int{2, 0, -1, 1<<31 - 1} {
		wantConflict(t, s.send(edit("refused", id, ifVersion(version, "Gemini"))), 1)
	}
	// Also where it would change nothing.
	wantConflict(t, s.send(edit("refused", id, ifVersion(2, "Apollo"))), 1)
	wantConflict(t, s.send(edit("refused", id, map[string]any{"ifVersion": 2})), 1)
	wantCode(t, s.send(edit("refused", "018f0000-0000-7000-8000-000000000000", ifVersion(1, "Gemini"))), "NOT_FOUND")
	wantCode(t, s.send(edit("refused", id, ifVersion(2, ""))), "BAD_USER_INPUT")
	wantCode(t, s.send(edit("refused", id, ifVersion("1", "Gemini"))), "BAD_USER_INPUT")
	wantCode(t, s.send(edit("refused", id, ifVersion(1.5, "Gemini"))), "BAD_USER_INPUT")
	d.wantStored(1, 1)
	if n := d.count(`select count(*) from projects where version = 1 and name = 'Apollo' and updated_at = created_at`); n != 1 {
		t.Error("a refused call changed the project")
	}

	wantVersion(t, s.send(edit("null", id, ifVersion(nil, "Gemini"))), "EXECUTED", 2)
	// The call that was refused is now what its key stands for, whatever comes later.
	executed := s.send(edit("refused", id, ifVersion(2, "Mercury")))
	wantVersion(t, executed, "EXECUTED", 3)
	wantReplayOf(t, executed, s.send(edit("refused", id, ifVersion(2, "Mercury"))))
	wantConflict(t, s.send(edit("late", id, ifVersion(2, "Mercury"))), 3)
	wantCode(t, s.send(edit("refused", id, ifVersion(3, "Mercury"))), "IDEMPOTENCY_KEY_REUSED")
}

func TestIfVersion_OfTwoAtOnceOneWins(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	first, second, d := serve(t, url), serve(t, url), connect(t, url)
	id := first.send(create("create", "Apollo")).project().ID
	const rounds = 100
	version := 1
	for round := range rounds {
		for _, servers := range [][]*server{{first}, {first, second}} {
			answers := sendBurst(t, 2, servers, func(i int) request {
				key := fmt.Sprint(len(servers), " servers, round ", round, ", caller ", i)
				return edit(key, id, ifVersion(version, key))
			})
			won := slices.IndexFunc(answers, func(a answer) bool { return len(a.Errors) == 0 })
			version++
			wantVersion(t, answers[max(won, 0)], "EXECUTED", version)
			wantConflict(t, answers[1-max(won, 0)], version)
			if t.Failed() {
				t.FailNow()
			}
		}
	}
	d.wantStored(1, 1+2*rounds)
}

// A server that may have a build beside it whose changes raise no version.
func TestIfVersion_IsRefusedAsConfiguredAndStillReplayed(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	accepts, refuses, d := serve(t, url), serve(t, url, "ACCEPT_IF_VERSION=false"), connect(t, url)
	id := accepts.send(create("create", "Apollo")).project().ID
	call := edit("k", id, ifVersion(1, "Gemini"))
	for _, refused := range []request{call, edit("k", id, ifVersion(7, "Gemini"))} {
		a := refuses.send(refused)
		wantCode(t, a, "BAD_USER_INPUT")
		if a.failure().Retryable {
			t.Errorf("it is retryable: %s", a.raw)
		}
	}
	d.wantStored(1, 1)
	executed := accepts.send(call)
	wantVersion(t, executed, "EXECUTED", 2)
	wantReplayOf(t, executed, refuses.send(call))
	wantCode(t, refuses.send(edit("k", id, ifVersion(2, "Gemini"))), "IDEMPOTENCY_KEY_REUSED")
	wantVersion(t, refuses.send(edit("null", id, ifVersion(nil, "Mercury"))), "EXECUTED", 3)
	wantVersion(t, refuses.send(edit("absent", id, map[string]any{"name": "Apollo"})), "EXECUTED", 4)
}

// The versions tell the order in which changes took effect.
func TestUpdatedAt_NeverGoesBack(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	servers := []*server{serve(t, url), serve(t, url)}
	const rounds, callers = 150, 10
	for round := range rounds {
		created := servers[0].send(request{
			Query:     `mutation ($key: String!) { createProject(input: {name: "Apollo"}, idempotencyKey: $key) ` + versioned + ` }`,
			Variables: map[string]any{"key": fmt.Sprint("create ", round)},
		})
		wantVersion(t, created, "EXECUTED", 1)
		id := created.project().ID
		changes := append([]answer{created}, sendBurst(t, callers, servers, func(i int) request {
			key := fmt.Sprint("round ", round, ", caller ", i)
			if i%4 == 3 {
				return archived(key, id, i%8 == 3)
			}
			return edit(key, id, map[string]any{"name": key})
		})...)
		slices.SortStableFunc(changes, func(a, b answer) int { return cmp.Compare(a.project().Version, b.project().Version) })
		var before project
		for _, a := range changes {
			wantStatus(t, a, "EXECUTED")
			p := a.project()
			switch {
			case p.CreatedAt.IsZero() || p.UpdatedAt.Before(p.CreatedAt) || p.UpdatedAt.Before(before.UpdatedAt):
				t.Fatalf("round %d: version %d was updated at %s and version %d at %s", round, before.Version, before.UpdatedAt, p.Version, p.UpdatedAt)
			case p.Version == before.Version && !p.UpdatedAt.Equal(before.UpdatedAt):
				t.Fatalf("round %d: version %d was updated at %s and at %s", round, p.Version, before.UpdatedAt, p.UpdatedAt)
			case p.ArchivedAt != nil && before.ArchivedAt == nil && !p.ArchivedAt.Equal(p.UpdatedAt):
				t.Fatalf("round %d: version %d was archived at %s and updated at %s", round, p.Version, p.ArchivedAt, p.UpdatedAt)
			}
			before = p
		}
	}
}

// The payloads are literal, as builds have written them that knew no versions. What is
// here stays here: every build has to replay it.
func TestPayloadWithoutAVersion_IsReplayedAsVersionOne(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url), connect(t, url)
	rows, err := os.ReadFile("testdata/without-version.sql")
	if err != nil {
		t.Fatal(err)
	}
	d.exec(string(rows))
	const id = "019ac0de-0000-7000-8000-000000000001"
	for key, call := range map[string]request{
		"golden create":  createWith("golden create", map[string]any{"name": "Apollo"}),
		"golden update":  edit("golden update", id, map[string]any{"name": "Gemini", "description": "d"}),
		"golden archive": archived("golden archive", id, true),
	} {
		if key == "golden create" {
			call.Query = `mutation ($input: CreateProjectInput!, $key: String!) { createProject(input: $input, idempotencyKey: $key) ` + versioned + ` }`
		}
		a := s.send(call)
		wantVersion(t, a, "REPLAYED", 1)
		if p := a.project(); p.ID != id || p.CreatedAt != time.Date(2026, 11, 1, 12, 0, 0, 123e6, time.UTC) {
			t.Errorf("%s: %s", key, a.raw)
		}
	}
	d.wantStored(0, 3)
}
