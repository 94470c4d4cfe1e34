package e2e_test

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"

	"github.com/onceql/onceql/internal/pgtest"
)

// A crash cuts a server off in the middle of a call: kill -9, or the end of its
// connections. Each step holds the call where it is named, with Postgres's own
// means, and tells when it is there and how to let go.
func TestCrash_AtEachStepTakesEffectOnce(t *testing.T) {
	t.Parallel()
	steps := map[string]func(d *database) (there func() bool, release func()){
		"before the look-up": func(d *database) (func() bool, func()) {
			release := d.hold(`idempotency_keys`, `access exclusive`)
			return func() bool { return d.waiting(`relation = 'idempotency_keys'::regclass`) == 2 }, release
		},
		"in the effect": func(d *database) (func() bool, func()) {
			release := d.holdProjects()
			return func() bool { return d.held() == 2 }, release
		},
		"between the effect and the row": func(d *database) (func() bool, func()) {
			release := d.hold(`idempotency_keys`, `exclusive`)
			return func() bool { return d.waiting(`relation = 'idempotency_keys'::regclass`) == 2 }, release
		},
		"in the commit": func(d *database) (func() bool, func()) { return d.holdCommits(2) },
	}
	crashes := map[string]func(s *server, d *database){
		"kill -9": func(s *server, _ *database) { s.kill() },
		"its connections end": func(_ *server, d *database) {
			d.exec(`select pg_terminate_backend(pid) from pg_stat_activity
				where datname = current_database() and application_name = 'onceql'`)
		},
	}
	for step, hold := range steps {
		for crash, strike := range crashes {
			t.Run(crash+" "+step, func(t *testing.T) {
				t.Parallel()
				url := pgtest.URL(t)
				s, d := serve(t, url), connect(t, url)
				subject := s.send(create("subject", "Mercury")).project().ID
				d.exec(`create table effects (name text); grant insert on effects to public`)
				d.exec(`create function note() returns trigger language plpgsql as
					$$ begin insert into effects values (new.name); return null; end $$`)
				d.exec(`create trigger note after insert or update on projects for each row execute function note()`)

				// One call by itself, and two that share a key and run in a batch.
				calls := []request{rename("u", subject, "Gemini"), create("k", "Apollo"), create("k", "Apollo")}
				there, release := hold(d)
				answers, errs := make([]answer, len(calls)), make([]error, len(calls))
				var callers sync.WaitGroup
				for i, call := range calls {
					callers.Go(func() { answers[i], errs[i] = s.try(context.WithoutCancel(t.Context()), call) })
				}
				eventually(t, "the calls to come to the step", there)
				strike(s, d)
				release()
				callers.Wait()
				if crash == "kill -9" {
					s = serve(t, url)
				}
				for _, err := range errs {
					if answered := err == nil; answered != (crash != "kill -9") {
						t.Errorf("answered: %t, %v", answered, err)
					}
				}
				for i, call := range calls {
					want := []string{"Gemini", "Apollo", "Apollo"}[i]
					if errs[i] == nil && answers[i].project().Name != want {
						t.Errorf("answered %d %s", answers[i].status, answers[i].raw)
					}
					eventually(t, "the retry to be answered", func() bool { return s.send(call).project().Name == want })
					wantStatus(t, s.send(call), "REPLAYED")
				}
				d.wantStored(2, 3)
				for _, name := range []string{"Gemini", "Apollo"} {
					if n := d.count(`select count(*) from effects where name = $1`, name); n != 1 {
						t.Errorf("%d effects of the name %s, want 1", n, name)
					}
				}
			})
		}
	}
}

// holdCommits keeps transactions that write projects within their COMMIT until
// release is called; there says that so many have come to it.
func (d *database) holdCommits(n int) (there func() bool, release func()) {
	d.t.Helper()
	d.exec(`create function hold() returns trigger language plpgsql as
		$$ begin perform pg_advisory_xact_lock(4711); return null; end $$`)
	d.exec(`create constraint trigger hold after insert or update on projects
		deferrable initially deferred for each row execute function hold()`)
	d.exec(`select pg_advisory_lock(4711)`)
	return func() bool { return d.waiting(`locktype = 'advisory' and objid = 4711`) == n },
		func() { d.exec(`select pg_advisory_unlock(4711)`) }
}

// sendInVain sends the request and expects no answer.
func sendInVain(s *server, r request) (gone chan struct{}) {
	gone = make(chan struct{})
	go func() {
		defer close(gone)
		if a, err := s.try(context.WithoutCancel(s.t.Context()), r); err == nil {
			s.t.Errorf("answered %d %s", a.status, a.raw)
		}
	}()
	return gone
}

func TestCrash_AfterTheCommitBeforeTheAnswerReplays(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url), connect(t, url)
	there, release := d.holdCommits(1)
	gone := sendInVain(s, create("k", "Apollo"))
	eventually(t, "the call to come to its commit", there)
	// A server that stands still can't answer what commits meanwhile.
	if err := s.process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if _, err := syscall.Wait4(s.process.Pid, nil, syscall.WUNTRACED, nil); err != nil { // It stops in a while.
		t.Fatal(err)
	}
	release()
	eventually(t, "the call to be committed", func() bool { return d.count(`select count(*) from projects`) == 1 })
	s.kill()
	<-gone
	wantStatus(t, serve(t, url).send(create("k", "Apollo")), "REPLAYED")
	d.wantStored(1, 1)
}

func TestCrash_LeavesACommitBehindThatTheNextServerWaitsFor(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url), connect(t, url)
	there, release := d.holdCommits(1)
	gone := sendInVain(s, create("k", "Apollo"))
	eventually(t, "the call to come to its commit", there)
	s.kill()
	<-gone
	// Postgres has not noticed, and goes on with the transaction.
	next := serve(t, url, "IDEMPOTENCY_WAIT=300ms")
	wantCode(t, next.send(create("k", "Apollo")), "IDEMPOTENCY_IN_PROGRESS")
	release()
	var retried answer
	eventually(t, "the retry to be answered", func() bool {
		retried = next.send(create("k", "Apollo"))
		return retried.code() != "IDEMPOTENCY_IN_PROGRESS"
	})
	wantStatus(t, retried, "REPLAYED")
	d.wantStored(1, 1)
}

func TestCrash_WithAQueueRunsNothingOfIt(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url), connect(t, url)
	release := d.holdProjects()
	var gone []chan struct{}
	for i := range batches {
		gone = append(gone, sendInVain(s, create(fmt.Sprint("busy ", i), "Gemini")))
		eventually(t, "a batch to be busy", func() bool { return d.held() == i+1 })
	}
	for i := range 20 {
		gone = append(gone, sendInVain(s, create(fmt.Sprint("queued ", i), "Apollo")))
	}
	s.get("/healthz")
	s.kill()
	for _, g := range gone {
		<-g
	}
	next := serve(t, url)
	release()
	for i := range 20 {
		wantStatus(t, next.send(create(fmt.Sprint("queued ", i), "Apollo")), "EXECUTED")
	}
	for i := range batches {
		wantStatus(t, next.send(create(fmt.Sprint("busy ", i), "Gemini")), "EXECUTED")
	}
	d.wantStored(20+batches, 20+batches)
}
