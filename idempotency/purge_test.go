package idempotency_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/onceql/onceql/idempotency"
)

// fill stores n keys of that age, with the default TTL.
func (f *fixture) fill(n int, age string) {
	f.t.Helper()
	f.exec(`insert into idempotency_keys
		select 'tenant', $2 || ' ' || i, 'write', sha256('a'), 1, '{"id": 1, "text": "a"}', null, gen_random_uuid(),
			now() - $2::interval, now() - $2::interval + interval '24 hours', now() - $2::interval + interval '72 hours'
		from generate_series(1, $1::int) i`, n, age)
}

func TestPurge_RemovesInBatchesWhatIsPastItsRetention(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{})
	f.fill(2500, "73 hours")
	f.fill(10, "71 hours")
	// Removed by its retention, but still replayed: written with a longer TTL.
	f.fill(10, "74 hours")
	f.exec(`update idempotency_keys set expires_at = now() + interval '1 hour' where key like '74 hours%'`)
	if n, err := engine.Purge(t.Context()); n != 2500 || err != nil {
		t.Errorf("%d rows were purged, %v; want 2500", n, err)
	}
	if n := f.count(`select count(*) from idempotency_keys`); n != 20 {
		t.Errorf("%d rows are left, want 20", n)
	}
}

// An operator may give rows more time at any moment.
func TestPurge_SparesARowThatIsGivenMoreTimeMeanwhile(t *testing.T) {
	t.Parallel()
	for _, column := range []string{"retained_until", "expires_at"} {
		t.Run(column, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			engine := f.engine(idempotency.Config{})
			f.fill(3, "73 hours")
			operator, err := f.pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := operator.Exec(t.Context(),
				`update idempotency_keys set `+column+` = now() + interval '1 hour' where key = '73 hours 2'`); err != nil {
				t.Fatal(err)
			}
			purged := make(chan int64, 1)
			go func() {
				n, err := engine.Purge(t.Context())
				if err != nil {
					t.Error(err)
				}
				purged <- n
			}()
			eventually(t, "the purge waits for the row", func() bool {
				return f.count(`select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`) > 0
			})
			if err := operator.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := <-purged; n != 2 {
				t.Errorf("%d rows were purged, want 2", n)
			}
			if n := f.count(`select count(*) from idempotency_keys where key = '73 hours 2'`); n != 1 {
				t.Error("the row that was given more time is gone")
			}
		})
	}
}

func TestPurge_IsOneServersAtATime(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{})
	f.fill(10, "73 hours")
	other, err := f.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Exec(t.Context(), `select pg_advisory_xact_lock($1)`, idempotency.PurgeLock); err != nil {
		t.Fatal(err)
	}
	if n, err := engine.Purge(t.Context()); n != 0 || err != nil {
		t.Errorf("%d rows were purged beside another purge, %v", n, err)
	}
	if err := other.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := engine.Purge(t.Context()); n != 10 || err != nil {
		t.Errorf("%d rows were purged after it, %v; want 10", n, err)
	}
}

func TestPurge_RunsByItselfAndIsObserved(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.fill(10, "73 hours")
	events := make(chan idempotency.Event, 100)
	engine := f.engine(idempotency.Config{PurgeEvery: time.Millisecond, Observer: func(event idempotency.Event) {
		select {
		case events <- event:
		default:
		}
	}})
	if event := <-events; event.Kind != idempotency.Purged || event.Count != 10 {
		t.Errorf("observed %+v, want 10 purged", event)
	}
	if s := engine.Stats(); s.Purged != 10 || s.PurgeFailures != 0 || time.Since(s.PurgedAt).Abs() > testTimeout {
		t.Errorf("%d purged, %d failures, the last success %v", s.Purged, s.PurgeFailures, s.PurgedAt)
	}
}

func TestPurge_ThatFailsIsCounted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{PurgeEvery: -1})
	f.exec(`alter table idempotency_keys rename to elsewhere`)
	if _, err := engine.Purge(t.Context()); !errors.Is(err, idempotency.ErrTable) {
		t.Errorf("error %v, want ErrTable", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := engine.Purge(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
	if s := engine.Stats(); s.PurgeFailures != 1 || !s.PurgedAt.IsZero() {
		t.Errorf("%d failures, the last success %v", s.PurgeFailures, s.PurgedAt)
	}
}

// Calls with keys that are purged at the same moment execute anew, once each.
func TestPurge_RacesWithCallsOfTheSameKeys(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{})
	f.fill(200, "73 hours")
	var callers sync.WaitGroup
	for i := range 200 {
		callers.Go(func() {
			key := fmt.Sprint("73 hours ", i+1)
			eventually(t, key+" to execute", func() bool {
				o, err := do(t.Context(), engine, key, "a")
				if err != nil && !errors.Is(err, idempotency.ErrKeyExpired) {
					t.Errorf("%s: %v", key, err)
				}
				return err == nil && !o.Replayed
			})
		})
	}
	callers.Go(func() {
		for range 20 {
			if _, err := engine.Purge(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
	callers.Wait()
	f.effects(200)
}

// Somebody removes the rows of a scope in another order, and Postgres ends one of the two.
func TestPurge_IsTriedAgainAfterADeadlock(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{})
	f.fill(2, "73 hours")
	other, err := f.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Exec(t.Context(), `set local deadlock_timeout = '1min'`); err != nil { // It is the purge that finds the deadlock.
		t.Fatal(err)
	}
	remove := func(key string) {
		if _, err := other.Exec(t.Context(), `delete from idempotency_keys where key = $1`, key); err != nil {
			t.Errorf("the other was ended: %v", err)
		}
	}
	remove("73 hours 1")
	purged := make(chan error)
	go func() {
		n, err := engine.Purge(t.Context())
		if n != 0 {
			err = fmt.Errorf("%d are purged", n)
		}
		purged <- err
	}()
	eventually(t, "the purge waits for the other", func() bool {
		return f.count(`select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`) == 1
	})
	remove("73 hours 2")
	if err := other.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-purged; err != nil || f.keysLeft() != 0 {
		t.Errorf("%v; %d keys are left", err, f.keysLeft())
	}
}
