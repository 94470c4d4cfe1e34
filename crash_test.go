package main_test

import (
	"context"
	"sync"
	"testing"

	"github.com/onceql/onceql/internal/pgtest"
)

// A crash cuts a server off in the middle of a call: kill -9, or the end of its
// connection.
func TestCrash_AtEachStepTakesEffectOnce(t *testing.T) {
	t.Parallel()
	// Each step holds the call where it is named, with Postgres's own means, and
	// tells when it is there and how to let go.
	steps := map[string]func(d *database) (there func() bool, release func()){
		"before the look-up": func(d *database) (func() bool, func()) {
			d.exec(`begin`)
			d.exec(`lock table idempotency_keys in access exclusive mode`)
			return func() bool { return d.waiting(`relation = 'idempotency_keys'::regclass`) }, func() { d.exec(`commit`) }
		},
		"in the effect": func(d *database) (func() bool, func()) {
			release := d.holdProjects()
			return func() bool { return d.waiting(`relation = 'projects'::regclass`) }, release
		},
		"between the effect and the row": func(d *database) (func() bool, func()) {
			d.exec(`begin`)
			d.exec(`lock table idempotency_keys in exclusive mode`)
			return func() bool { return d.waiting(`relation = 'idempotency_keys'::regclass`) }, func() { d.exec(`commit`) }
		},
		"in the commit": func(d *database) (func() bool, func()) {
			d.exec(`create function hold() returns trigger language plpgsql as
				$$ begin perform pg_advisory_xact_lock(4711); return null; end $$`)
			d.exec(`create constraint trigger hold after insert on projects
				deferrable initially deferred for each row execute function hold()`)
			d.exec(`select pg_advisory_lock(4711)`)
			return func() bool { return d.waiting(`locktype = 'advisory' and objid = 4711`) },
				func() { d.exec(`select pg_advisory_unlock(4711)`) }
		},
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
				s, d := serve(t, url, "IDEMPOTENCY_WAIT=50s", "IDEMPOTENCY_BUDGET=50s"), connect(t, url)
				there, release := hold(d)
				var callers sync.WaitGroup
				var answers [2]answer
				var errs [2]error
				for i := range answers {
					callers.Go(func() { answers[i], errs[i] = s.try(context.WithoutCancel(t.Context()), create("k", "Apollo")) })
				}
				eventually(t, "the call to come to the step", there)
				strike(s, d)
				release()
				callers.Wait()
				if crash == "kill -9" {
					s = serve(t, url)
				}
				for i, err := range errs {
					// Those that are answered are answered right.
					if err == nil && answers[i].project().Name != "Apollo" {
						t.Errorf("answered %d %s", answers[i].status, answers[i].raw)
					}
				}
				eventually(t, "the retry to be answered", func() bool {
					return s.send(create("k", "Apollo")).project().Name == "Apollo"
				})
				wantStatus(t, s.send(create("k", "Apollo")), "REPLAYED")
				d.wantStored(1, 1)
			})
		}
	}
}

// waiting says whether a connection waits for a lock of that kind.
func (d *database) waiting(lock string) bool {
	d.t.Helper()
	return d.count(`select count(*) from pg_locks
		where database = (select oid from pg_database where datname = current_database()) and not granted and `+lock) > 0
}

func TestDatabase_GoesAwayAndComesBack(t *testing.T) {
	t.Parallel()
	postgres := pgtest.NewServer(t)
	s := serve(t, postgres.URL())
	wantStatus(t, s.send(create("before", "Apollo")), "EXECUTED")
	postgres.Stop(t)

	for i := range 3 {
		a := s.send(create("during", "Gemini"))
		switch {
		case a.status == 503:
			if a.header.Get("Retry-After") == "" {
				t.Errorf("a refusal without Retry-After: %v", a.header)
			}
		case a.code() != "UNAVAILABLE" && a.code() != "IDEMPOTENCY_IN_PROGRESS" || !a.Errors[0].Extensions.Retryable:
			t.Errorf("answer %d: %d %s", i, a.status, a.raw)
		}
	}
	eventually(t, "/readyz to say that the database is away", func() bool { return s.get("/readyz").status == 503 })
	if got := s.get("/healthz"); got.status != 200 {
		t.Errorf("/healthz says %d while the database is away", got.status)
	}
	eventually(t, "requests to be refused", func() bool {
		a := s.send(create("during", "Gemini"))
		return a.status == 503 && a.header.Get("Content-Type") == "text/plain; charset=utf-8" && a.header.Get("Retry-After") != ""
	})

	postgres.Start(t)
	eventually(t, "the same key to go through", func() bool { return s.send(create("during", "Gemini")).project().Name == "Gemini" })
	wantStatus(t, s.send(create("before", "Apollo")), "REPLAYED")
	if got := s.get("/readyz"); got.status != 200 {
		t.Errorf("/readyz says %d once the database is back", got.status)
	}
	connect(t, postgres.URL()).wantStored(2, 2)
}
