package e2e_test

import (
	"fmt"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/onceql/onceql/internal/pgtest"
)

// A burst of requests is under way until done is closed; then its answers are
// there.
type burst struct {
	t       testing.TB
	n       int
	sent    atomic.Int64
	done    chan struct{}
	answers []answer
}

// startBurst sends n requests at once, the i-th to the i-th server in turn.
func startBurst(t testing.TB, n int, servers []*server, request func(i int) request, header ...string) *burst {
	t.Helper()
	s := &burst{t: t, n: n, done: make(chan struct{}), answers: make([]answer, n)}
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { s.sent.Add(1) },
	})
	var callers sync.WaitGroup
	for i := range n {
		callers.Go(func() {
			var err error
			if s.answers[i], err = servers[i%len(servers)].try(ctx, request(i), header...); err != nil {
				t.Error(err)
			}
		})
	}
	go func() {
		callers.Wait()
		close(s.done)
	}()
	return s
}

// underWay says whether every request is sent.
func (s *burst) underWay() bool { return s.sent.Load() >= int64(s.n) }

// wait returns the answers.
func (s *burst) wait() []answer {
	s.t.Helper()
	<-s.done
	if s.t.Failed() {
		s.t.FailNow()
	}
	return s.answers
}

// sendBurst sends one that nothing is done to.
func sendBurst(t testing.TB, n int, servers []*server, request func(i int) request) []answer {
	t.Helper()
	return startBurst(t, n, servers, request).wait()
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

func TestBurst_OfOneKeyTakesEffectOnce(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(subject string) request{
		"in batches":     func(string) request { return create("k", "Apollo") },
		"each by itself": func(subject string) request { return rename("k", subject, "Apollo") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.URL(t)
			s, d := serve(t, url), connect(t, url)
			subject := s.send(create("subject", "Mercury")).project().ID
			release := d.holdProjects()
			callers := startBurst(t, 500, []*server{s}, func(int) request { return call(subject) })
			most := 0
			sample := func() {
				// The server probes the database once a second, with a burst or without.
				most = max(most, d.count(`select count(*) from pg_stat_activity
					where datname = current_database() and application_name = 'onceql' and state <> 'idle' and query not like '%-- probe'`))
			}
			eventually(t, "the effect to wait, and all the others for it", func() bool {
				sample()
				return d.held() == 1 && callers.underWay()
			})
			for range 50 {
				sample()
			}
			if n := d.held(); n > 1 {
				t.Errorf("%d effects run under one key, want 1", n)
			}
			release()
			for running := true; running; {
				sample()
				select {
				case <-callers.done:
					running = false
				default:
				}
			}
			if most < 1 || most > 2 {
				t.Errorf("%d connections were busy with one key, want 1 or 2", most)
			}
			wantOneExecution(t, callers.wait())
			if n := d.count(`select count(*) from projects where name = 'Apollo'`); n != 1 {
				t.Errorf("%d projects have the name, want 1", n)
			}
			if n := d.count(`select count(*) from idempotency_keys where key = 'k'`); n != 1 {
				t.Errorf("%d rows of the key, want 1", n)
			}
		})
	}
}

func TestBurst_OfTwoPayloadsOnOneKeyLetsOneWin(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url), connect(t, url)
	names := []string{"Apollo", "Gemini"}
	answers := sendBurst(t, 200, []*server{s}, func(i int) request { return create("k", names[i%2]) })
	won := map[string][]answer{}
	for i, a := range answers {
		if a.code() == "IDEMPOTENCY_KEY_REUSED" {
			continue
		}
		if a.project().Name != names[i%2] {
			t.Fatalf("asked for %s: %d %s", names[i%2], a.status, a.raw)
		}
		won[names[i%2]] = append(won[names[i%2]], a)
	}
	if len(won) != 1 {
		t.Fatalf("%d payloads succeeded, want one alone", len(won))
	}
	for name, same := range won {
		if len(same) != 100 {
			t.Errorf("%d calls for %s succeeded, want all 100", len(same), name)
		}
		wantOneExecution(t, same)
	}
	d.wantStored(1, 1)
}

func TestBurst_OnTwoServersCreatesOneProject(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	d := connect(t, url)
	servers := []*server{
		serve(t, url),
		serve(t, url),
	}
	wantOneExecution(t, sendBurst(t, 200, servers, func(int) request { return create("k", "Apollo") }))
	d.wantStored(1, 1)
}

func TestLoser_OnAnotherServerWaitsAndReplays(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	d := connect(t, url)
	first := serve(t, url)
	second := serve(t, url+"&application_name=second")
	release := d.holdProjects()
	leader := startBurst(t, 1, []*server{first}, func(int) request { return create("k", "Apollo") })
	eventually(t, "the first server's effect to wait", func() bool { return d.held() == 1 })
	losers := startBurst(t, 20, []*server{second}, func(int) request { return create("k", "Apollo") })
	// It rolls back when it has found the key busy, and has done so for no other.
	eventually(t, "the second server to have looked for the row", func() bool {
		return losers.underWay() && d.count(`select count(*) from pg_stat_activity
			where datname = current_database() and application_name = 'second' and query = 'rollback'`) > 0
	})
	select {
	case <-losers.done:
		t.Fatalf("the second server answered while the first executed: %s", losers.answers[0].raw)
	default:
	}
	if n := d.held(); n > 1 {
		t.Errorf("%d effects wait, want that of the first server alone", n)
	}
	release()
	// The first server gives its lock up for a moment when its effect has waited too long
	// for a batch, and then the second one may execute.
	wantOneExecution(t, append(leader.wait(), losers.wait()...))
	d.wantStored(1, 1)
}

func TestBurst_OfManyKeysOnTwoServers(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	servers, d := []*server{serve(t, url), serve(t, url)}, connect(t, url)
	keys := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	answers := sendBurst(t, 240, servers, func(i int) request { return create(keys[i/2%8], keys[i/2%8]) })
	byKey := map[string][]answer{}
	for i, a := range answers {
		byKey[keys[i/2%8]] = append(byKey[keys[i/2%8]], a)
	}
	for _, same := range byKey {
		wantOneExecution(t, same)
	}
	d.wantStored(8, 8)
}

func TestBatch_LetsABadCallFailSingly(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url), connect(t, url)
	// What the effect finds out about a call by itself, and what Postgres throws at
	// the whole batch.
	const poison = "Poison"
	names := []string{"Apollo", "", poison, "Gemini", "Mercury"}
	d.exec(`create function refuse() returns trigger language plpgsql as
		$$ begin raise exception E'no %\nlevel=ERROR msg=forged', new.name; end $$`)
	d.exec(`create trigger refuse before insert on projects for each row when (new.name like 'Poison%') execute function refuse()`)
	release := d.holdProjects()
	busy := occupy(s, d, "Busy")
	calls := startBurst(t, 60, []*server{s}, func(i int) request { return create(fmt.Sprint(i), names[i%len(names)]) })
	eventually(t, "the calls to be sent", calls.underWay)
	release()
	for i, a := range calls.wait() {
		switch names[i%len(names)] {
		case "":
			wantCode(t, a, "BAD_USER_INPUT")
		case poison:
			wantCode(t, a, "INTERNAL")
		default:
			wantStatus(t, a, "EXECUTED")
		}
	}
	for _, b := range busy {
		wantStatus(t, b.wait()[0], "EXECUTED")
	}
	d.wantStored(batches+36, batches+36)
	wantSoundLog(t, s, "Poison", "forged")
	// Their keys are not consumed.
	d.exec(`drop trigger refuse on projects`)
	wantStatus(t, s.send(create("1", "Apollo")), "EXECUTED")
	wantStatus(t, s.send(create("2", poison)), "EXECUTED")
}
