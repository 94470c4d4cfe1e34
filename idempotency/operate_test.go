package idempotency_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

// noted is a table of what was removed, which a record writes.
func (f *fixture) noted() {
	f.t.Helper()
	f.exec(`create table removals (note text not null)`)
}

func (f *fixture) removals() int64 { return int64(f.count(`select count(*) from removals`)) }

func (f *fixture) keysLeft() int64 { return int64(f.count(`select count(*) from idempotency_keys`)) }

func note1(ctx context.Context, tx pgx.Tx, text string) error {
	_, err := tx.Exec(ctx, `insert into removals values ($1)`, text)
	return err
}

func TestKeysForget_RemovesAndRecordsTogether(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.noted()
	f.executed("a k1 write r1\nb k1 write r2")
	keys := idempotency.OpenKeys(f.pool)
	before, there, err := keys.Find(t.Context(), "a", "k1")
	if err != nil || !there {
		t.Fatal(there, err)
	}
	broken := errors.New("no room for a record")
	if there, err := keys.Forget(t.Context(), "a", "k1", func(pgx.Tx, idempotency.Record) error { return broken }); there || !errors.Is(err, broken) || f.keysLeft() != 2 {
		t.Errorf("without a record: %t, %v, and %d keys are left", there, err, f.keysLeft())
	}
	var removed idempotency.Record
	record := func(tx pgx.Tx, r idempotency.Record) error {
		removed = r
		return note1(t.Context(), tx, r.Scope)
	}
	if there, err := keys.Forget(t.Context(), "a", "k1", record); !there || err != nil || f.keysLeft() != 1 || f.removals() != 1 {
		t.Errorf("%t, %v, %d keys, %d records", there, err, f.keysLeft(), f.removals())
	}
	if diff := cmp.Diff(before, removed); diff != "" {
		t.Errorf("what it was is recorded otherwise:\n%s", diff)
	}
	if there, err := keys.Forget(t.Context(), "a", "k1", record); there || err != nil || f.removals() != 1 {
		t.Errorf("once more: %t, %v, %d records", there, err, f.removals())
	}
	if _, err := keys.Forget(t.Context(), "a", " k1", record); !errors.Is(err, idempotency.ErrKeyInvalid) {
		t.Errorf("a key that nobody has: %v", err)
	}
}

// Of many who forget a key at once, one does.
func TestKeysForget_IsOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.noted()
	f.executed("a k1 write r1")
	keys := idempotency.OpenKeys(f.pool)
	forgot := make(chan bool)
	const operators = 4
	for range operators {
		go func() {
			there, err := keys.Forget(t.Context(), "a", "k1", func(tx pgx.Tx, _ idempotency.Record) error { return note1(t.Context(), tx, "k1") })
			if err != nil && !errors.Is(err, idempotency.ErrInProgress) {
				t.Error(err)
			}
			forgot <- there
		}()
	}
	times := 0
	for range operators {
		if <-forgot {
			times++
		}
	}
	if times != 1 || f.removals() != 1 {
		t.Errorf("forgotten %d times, with %d records", times, f.removals())
	}
}

func TestKeys_TellOfACallThatExecutes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	keys := idempotency.OpenKeys(f.pool)
	engine := f.engine(idempotency.Config{})
	none := func(pgx.Tx, idempotency.Record) error { return errors.New("a record of nothing") }
	_, err := run(t.Context(), engine, call("k", "a"), func(context.Context, pgx.Tx) (note, error) {
		if executing, err := keys.Executing(t.Context(), "tenant", "k"); !executing || err != nil {
			t.Errorf("executing: %t, %v", executing, err)
		}
		if executing, err := keys.Executing(t.Context(), "tenant", "other"); executing || err != nil {
			t.Errorf("another key is executing: %t, %v", executing, err)
		}
		if _, there, err := keys.Check(t.Context(), call("k", "a")); there || !errors.Is(err, idempotency.ErrInProgress) {
			t.Errorf("checked: %t, %v", there, err)
		}
		if _, err := keys.Forget(t.Context(), "tenant", "k", none); !errors.Is(err, idempotency.ErrInProgress) {
			t.Errorf("forgotten: %v", err)
		}
		return note{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if executing, err := keys.Executing(t.Context(), "tenant", "k"); executing || err != nil {
		t.Errorf("executing afterwards: %t, %v", executing, err)
	}
}

// What Check says is what the call then comes to.
func TestKeysCheck_SaysWhatDoWould(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	keys := idempotency.OpenKeys(f.pool)
	engine := f.engine(idempotency.Config{})
	mustDo(t, engine, "k", "a")
	mustDo(t, engine, "expired", "a")
	f.exec(`update idempotency_keys set expires_at = now() - interval '1 second' where key = 'expired'`)
	mustDo(t, engine, "version", "a")
	f.exec(`update idempotency_keys set hash_version = 77 where key = 'version'`)
	other := call("k", "a")
	other.Operation = "other"
	for name, test := range map[string]struct {
		call  idempotency.Call
		there bool
		want  error
	}{
		"replay":                   {call("k", "a"), true, nil},
		"another payload":          {call("k", "b"), true, idempotency.ErrKeyReused},
		"another operation":        {other, true, idempotency.ErrKeyReused},
		"expired":                  {call("expired", "a"), true, idempotency.ErrKeyExpired},
		"expired, another payload": {call("expired", "b"), true, idempotency.ErrKeyReused},
		"another version":          {call("version", "a"), true, idempotency.ErrUnavailable},
		"a bad key":                {call(" k", "a"), false, idempotency.ErrKeyInvalid},
	} {
		_, there, err := keys.Check(t.Context(), test.call)
		if there != test.there || !errors.Is(err, test.want) {
			t.Errorf("%s: %t, %v; want %v", name, there, err, test.want)
		}
		outcome, err := run(t.Context(), engine, test.call, func(context.Context, pgx.Tx) (note, error) { return note{}, errors.New("it executed") })
		if !errors.Is(err, test.want) || err == nil && !outcome.Replayed {
			t.Errorf("%s: Do says %+v, %v", name, outcome, err)
		}
	}
	if _, there, err := keys.Check(t.Context(), call("new", "a")); there || err != nil {
		t.Errorf("a new key: %t, %v", there, err)
	}
	payload, there, err := keys.Payload(t.Context(), "tenant", "k")
	if err != nil || !there || len(payload) == 0 {
		t.Errorf("the payload is %s, %t, %v", payload, there, err)
	}
	if _, there, err := keys.Payload(t.Context(), "other", "k"); there || err != nil {
		t.Errorf("another's payload: %t, %v", there, err)
	}
}

func TestKeysForgetScope_StopsBetweenTransactions(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.noted()
	f.fill(3500, "1 hour")
	f.executed("other k1 write r1")
	keys := idempotency.OpenKeys(f.pool)
	if n, err := keys.Count(t.Context(), "tenant"); n != 3500 || err != nil {
		t.Errorf("%d keys, %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	record := func(tx pgx.Tx, removed int64) error { return note1(t.Context(), tx, fmt.Sprint(removed)) }
	var told []int64
	n, err := keys.ForgetScope(ctx, "tenant", record, func(total int64) {
		told = append(told, total)
		if len(told) == 2 {
			cancel()
		}
	})
	if n != 2000 || !errors.Is(err, context.Canceled) || f.keysLeft() != 1501 || f.removals() != 2 {
		t.Errorf("%d are forgotten, %v; %d keys and %d records are there", n, err, f.keysLeft(), f.removals())
	}
	if diff := cmp.Diff([]int64{1000, 2000}, told); diff != "" {
		t.Error(diff)
	}
	// Two at once, with the server's purge beside them.
	engine := f.engine(idempotency.Config{})
	f.fill(1000, "73 hours")
	forgot := make(chan int64)
	for range 2 {
		go func() {
			n, err := keys.ForgetScope(t.Context(), "tenant", record, nil)
			if err != nil {
				t.Error(err)
			}
			forgot <- n
		}()
	}
	purged, err := engine.Purge(t.Context())
	if total := <-forgot + <-forgot + purged; total != 2500 || err != nil || f.keysLeft() != 1 {
		t.Errorf("%d are gone, %v; %d keys are left", total, err, f.keysLeft())
	}
	broken := errors.New("no room for a record")
	if n, err := keys.ForgetScope(t.Context(), "other", func(pgx.Tx, int64) error { return broken }, func(int64) {}); n != 0 || !errors.Is(err, broken) || f.keysLeft() != 1 {
		t.Errorf("without a record: %d, %v, %d keys are left", n, err, f.keysLeft())
	}
}

// A call that executes meanwhile was not to be forgotten: its retry would execute again.
func TestKeysForgetScope_KeepsWhatExecutesMeanwhile(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.fill(1500, "1 hour")
	n, err := idempotency.OpenKeys(f.pool).ForgetScope(t.Context(), "tenant", func(pgx.Tx, int64) error { return nil }, func(total int64) {
		if total == 1000 {
			f.executed("tenant ~last write r")
			f.exec(`update idempotency_keys set created_at = now() where key = '~last'`)
		}
	})
	if n != 1500 || err != nil || f.keysLeft() != 1 {
		t.Errorf("%d are forgotten, %v; %d keys are there", n, err, f.keysLeft())
	}
}

func TestKeysPurge_CountsAndStops(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.fill(2500, "73 hours")
	f.fill(5, "1 hour")
	keys := idempotency.OpenKeys(f.pool)
	if n, err := keys.Purgeable(t.Context()); n != 2500 || err != nil {
		t.Errorf("%d are due, %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if n, err := keys.Purge(ctx, func(int64) { cancel() }); n != 1000 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d are purged, %v", n, err)
	}
	if n, err := keys.Purge(t.Context(), nil); n != 1500 || err != nil || f.keysLeft() != 5 {
		t.Errorf("%d are purged, %v; %d are left", n, err, f.keysLeft())
	}
}
