package idempotency_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

// keys are the seconds that each key is replayed and retained, by its scope and name.
func (f *fixture) keys() map[string][2]int {
	f.t.Helper()
	rows, err := f.pool.Query(f.t.Context(), `
		select scope || '/' || key, round(extract(epoch from expires_at - created_at))::int, round(extract(epoch from retained_until - created_at))::int
		from idempotency_keys`)
	if err != nil {
		f.t.Fatal(err)
	}
	keys := map[string][2]int{}
	var name string
	var times [2]int
	if _, err := pgx.ForEachRow(rows, []any{&name, &times[0], &times[1]}, func() error {
		keys[name] = times
		return nil
	}); err != nil {
		f.t.Fatal(err)
	}
	return keys
}

// Each operation's rows have its own times, whatever the engine's are.
func TestLimits_AreTheOperations(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{TTL: time.Hour, Retention: 2 * time.Hour, Batches: 1})
	brief := idempotency.NewBatch(engine, "brief", idempotency.AcrossScopes(), writes, idempotency.WithTTL(time.Minute))
	long := idempotency.NewBatch(engine, "long", idempotency.AcrossScopes(), writes, idempotency.WithTTL(3*time.Hour))
	kept := idempotency.NewBatch(engine, "kept", idempotency.AcrossScopes(), writes, idempotency.WithTTL(time.Minute), idempotency.WithRetention(5*time.Hour))
	plain := idempotency.NewBatch(engine, "plain", idempotency.AcrossScopes(), writes)
	want := map[string][2]int{}
	for name, test := range map[string]struct {
		batch          *idempotency.Batch[string, note]
		ttl, retention int
	}{
		"brief": {brief, 60, 7200}, "long": {long, 10800, 10800}, "kept": {kept, 60, 18000}, "plain": {plain, 3600, 7200},
	} {
		o, err := test.batch.Do(t.Context(), inScope(name, "k", "a"), "a")
		executed(t, reply{o, err})
		if ttl := o.ExpiresAt.Sub(o.ExecutedAt); ttl != time.Duration(test.ttl)*time.Second {
			t.Errorf("%s is said to be replayed for %s", name, ttl)
		}
		want[name+"/k"] = [2]int{test.ttl, test.retention}
	}
	single := inScope("single", "k", "a")
	single.Limits = idempotency.Limits{TTL: 2 * time.Minute, Retention: time.Hour}
	if _, err := idempotency.Do(t.Context(), engine, single, write("a")); err != nil {
		t.Error(err)
	}
	want["single/k"] = [2]int{120, 3600}
	if diff := cmp.Diff(want, f.keys()); diff != "" {
		t.Errorf("seconds that the keys are replayed and retained (-want +got):\n%s", diff)
	}
}

func TestLimits_ThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{})
	for name, limits := range map[string]idempotency.Limits{
		"a negative wait":            {Wait: -1},
		"a retention below the TTL":  {TTL: time.Hour, Retention: time.Minute},
		"a TTL below a microsecond":  {TTL: time.Nanosecond},
		"a budget below a milli":     {Budget: time.Microsecond},
		"a negative size of a batch": {MaxBatch: -1},
	} {
		c := call("k", "a")
		c.Limits = limits
		_, err := idempotency.Do(t.Context(), engine, c, write("a"))
		wantError(t, err, idempotency.ErrCall)
		if !panics(func() {
			idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), writes, func(l *idempotency.Limits) { *l = limits })
		}) {
			t.Errorf("%s: NewBatch took it", name)
		}
	}
	f.effects(0)
}

func TestLimits_BoundTheOperationsBatches(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{Batches: 1})
	sizes := make(chan int, 100)
	batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), func(ctx context.Context, tx pgx.Tx, items []*noteItem) error {
		sizes <- len(items)
		return writes(ctx, tx, items)
	}, idempotency.WithMaxBatch(5))
	executed(t, together(t, engine, batch, texts(20)...)...)
	close(sizes)
	for size := range sizes {
		if size > 5 {
			t.Errorf("a batch of %d", size)
		}
	}
	f.effects(20)
}

// An operation's wait is its own, and so is its budget: one that may take long does so
// beside one that may not.
func TestLimits_WaitAndBudgetAreTheOperations(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{Wait: time.Hour, Budget: time.Hour, Batches: 2, Workers: 2})
	gate := newGate()
	defer close(gate.open)
	impatient := inScope("impatient", "k", "a")
	impatient.Limits.Wait = 50 * time.Millisecond
	_, err := idempotency.Do(t.Context(), engine, impatient, gate.before(write("a")))
	wantError(t, err, idempotency.ErrInProgress)
	hasty := inScope("hasty", "k", "a")
	hasty.Limits.Budget = 50 * time.Millisecond
	_, err = idempotency.Do(t.Context(), engine, hasty, func(ctx context.Context, _ pgx.Tx) (note, error) {
		<-ctx.Done()
		return note{}, ctx.Err()
	})
	wantError(t, err, idempotency.ErrUnavailable)
	batch := idempotency.NewBatch(engine, "hasty", idempotency.AcrossScopes(), func(ctx context.Context, _ pgx.Tx, _ []*noteItem) error {
		<-ctx.Done()
		return ctx.Err()
	}, idempotency.WithBudget(50*time.Millisecond))
	_, err = batch.Do(t.Context(), inScope("hasty", "k", "a"), "a")
	wantError(t, err, idempotency.ErrUnavailable)
}

// The row says until when it is retained: another engine's retention, on the same
// table, does not shorten it.
func TestRetention_IsTheRows(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	long := f.engine(idempotency.Config{TTL: time.Hour, Retention: 10 * time.Hour})
	short := f.engine(idempotency.Config{TTL: time.Hour, Retention: time.Hour})
	for i, engine := range []*idempotency.Engine{long, short} {
		key := fmt.Sprint(i)
		o, err := run(t.Context(), engine, call(key, "a"), write("a"))
		executed(t, reply{o, err})
	}
	// As an older build inserts it.
	if err := f.insertRival(t.Context(), call("older", "rival")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string][2]int{"tenant/0": {3600, 36000}, "tenant/1": {3600, 3600}, "tenant/older": {86400, 72 * 3600}}, f.keys()); diff != "" {
		t.Errorf("seconds that the keys are replayed and retained (-want +got):\n%s", diff)
	}
	age := func(by string) {
		f.exec(`update idempotency_keys set created_at = created_at - $1::text::interval, expires_at = expires_at - $1::text::interval,
			retained_until = retained_until - $1::text::interval`, by)
		for _, engine := range []*idempotency.Engine{short, long} {
			if _, err := engine.Purge(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	there := func(want ...string) {
		t.Helper()
		for _, key := range []string{"0", "1", "older"} {
			known := false
			for _, w := range want {
				known = known || w == key
			}
			for _, engine := range []*idempotency.Engine{short, long} {
				if _, there, err := engine.Lookup(t.Context(), "tenant", key); err != nil || there != known {
					t.Errorf("%s: there %t, %v; want %t", key, there, err, known)
				}
			}
		}
	}
	age("61 minutes")
	there("0", "older")
	for _, engine := range []*idempotency.Engine{short, long} {
		_, err := run(t.Context(), engine, call("0", "a"), never(t))
		wantError(t, err, idempotency.ErrKeyExpired)
	}
	age("8 hours")
	there("0", "older")
	age("1 hour")
	there("older")
	age("61 hours")
	there("older")
	age("1 hour")
	there()
}

// Postgres keeps microseconds; what is told is what is stored.
func TestRetention_BelowAMicrosecondIsToldAsItIsStored(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{TTL: time.Hour + 1999*time.Nanosecond})
	first := mustDo(t, engine, "k", "a")
	again := mustDo(t, engine, "k", "a")
	if !again.Replayed || !again.ExpiresAt.Equal(first.ExpiresAt) || !again.ExecutedAt.Equal(first.ExecutedAt) {
		t.Errorf("first until %s, then until %s", first.ExpiresAt, again.ExpiresAt)
	}
}
