package main_test

import (
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/onceql/onceql/internal/pgtest"
)

// storm sends n requests at once, the i-th to the i-th server in turn, and returns
// the answers.
func storm(t testing.TB, n int, servers []*server, request func(i int) request) []answer {
	t.Helper()
	answers, errs := make([]answer, n), make([]error, n)
	var callers sync.WaitGroup
	for i := range n {
		callers.Go(func() {
			answers[i], errs[i] = servers[i%len(servers)].try(t.Context(), request(i))
		})
	}
	callers.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	return answers
}

// wantOneExecution checks that one of the answers executed, and the others replay
// its project.
func wantOneExecution(t testing.TB, answers []answer) {
	t.Helper()
	executed := 0
	for _, a := range answers {
		switch status := a.fieldStatus(); {
		case status == "EXECUTED":
			executed++
		case status != "REPLAYED":
			t.Fatalf("status %q: %d %s", status, a.status, a.raw)
		}
		if diff := cmp.Diff(answers[0].project(), a.project()); diff != "" {
			t.Fatalf("answers differ:\n%s", diff)
		}
	}
	if executed != 1 {
		t.Errorf("%d answers say that they executed, want 1", executed)
	}
}

// holdProjects keeps effects from writing until the function that it returns is
// called. It does so over a connection of its own: within a transaction Postgres
// shows its activity as it was at the first look.
func (d *database) holdProjects() (release func()) {
	d.t.Helper()
	holder := connect(d.t, d.url)
	holder.exec(`begin`)
	holder.exec(`lock table projects in exclusive mode`)
	return func() {
		d.t.Helper()
		holder.exec(`commit`)
	}
}

// held is how many connections wait for the lock of holdProjects.
func (d *database) held() int {
	d.t.Helper()
	return d.count(`select count(*) from pg_locks
		where database = (select oid from pg_database where datname = current_database())
		and relation = 'projects'::regclass and not granted`)
}

func TestStorm_OfOneKeyCreatesOneProject(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url, "IDEMPOTENCY_WAIT=50s", "IDEMPOTENCY_BUDGET=50s"), connect(t, url)
	release := d.holdProjects()
	var answers []answer
	done := make(chan struct{})
	go func() {
		defer close(done)
		answers = storm(t, 500, []*server{s}, func(int) request { return create("k", "Apollo") })
	}()
	eventually(t, "the effect to wait", func() bool { return d.held() == 1 })
	// All the others wait for it, and what they keep busy is sampled meanwhile.
	for range 20 {
		busy := d.count(`select count(*) from pg_stat_activity
			where datname = current_database() and application_name = 'onceql' and state <> 'idle'
			and query not like '%ping%'`)
		if busy > 2 {
			t.Fatalf("%d connections are busy with one key, want 2 at most", busy)
		}
	}
	release()
	<-done
	wantOneExecution(t, answers)
	d.wantStored(1, 1)
}

func TestStorm_OfTwoPayloadsOnOneKeyLetsOneWin(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url), connect(t, url)
	names := []string{"Apollo", "Gemini"}
	answers := storm(t, 200, []*server{s}, func(i int) request { return create("k", names[i%2]) })
	won := map[string]int{}
	for i, a := range answers {
		if a.code() == "IDEMPOTENCY_KEY_REUSED" {
			continue
		}
		if a.project().Name != names[i%2] {
			t.Fatalf("asked for %s: %s", names[i%2], a.raw)
		}
		won[names[i%2]]++
	}
	if len(won) != 1 {
		t.Errorf("succeeded: %v, want one payload alone", won)
	}
	d.wantStored(1, 1)
}

func TestStorm_OnTwoServersCreatesOneProject(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	d := connect(t, url)
	servers := []*server{
		serve(t, url, "IDEMPOTENCY_WAIT=50s"),
		serve(t, url+"&application_name=second", "IDEMPOTENCY_WAIT=50s"),
	}
	wantOneExecution(t, storm(t, 200, servers, func(int) request { return create("k", "Apollo") }))
	d.wantStored(1, 1)

	// A loser waits for the one that executes, and then replays.
	release := d.holdProjects()
	first, second := make(chan answer, 1), make(chan answer, 1)
	ask := func(s *server, answers chan<- answer) {
		a, err := s.try(t.Context(), create("held", "Apollo"))
		if err != nil {
			t.Error(err)
		}
		answers <- a
	}
	go ask(servers[0], first)
	eventually(t, "the first server's effect to wait", func() bool { return d.held() == 1 })
	go ask(servers[1], second)
	eventually(t, "the second server to look for the row", func() bool {
		return d.count(`select count(*) from pg_stat_activity where application_name = 'second' and query = 'rollback'`) > 0
	})
	if len(second) > 0 {
		t.Errorf("the second server answered while the first executed: %s", (<-second).raw)
	}
	release()
	wantStatus(t, <-first, "EXECUTED")
	wantStatus(t, <-second, "REPLAYED")
	d.wantStored(2, 2)
}

func TestStorm_OfManyKeysOnTwoServers(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	servers, d := []*server{serve(t, url), serve(t, url)}, connect(t, url)
	keys := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	answers := storm(t, 240, servers, func(i int) request { return create(keys[i/2%8], keys[i/2%8]) })
	byKey := map[string][]answer{}
	for i, a := range answers {
		byKey[keys[i/2%8]] = append(byKey[keys[i/2%8]], a)
	}
	for _, same := range byKey {
		wantOneExecution(t, same)
	}
	d.wantStored(8, 8)
}
