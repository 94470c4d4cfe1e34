package idempotency_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

// Rows as other builds may have written them: what is in the row of the key "new"
// is changed by the update.
func TestRow_OfAnotherBuildNeverExecutesAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{})
	for update, want := range map[string]error{
		`response_json = '{"text": "a", "id": 1, "colour": {"r": 1.0}}'`: nil,
		`response_json = '{"text": "a"}'`:                                idempotency.ErrUnavailable,
		`response_json = '{"id": null, "text": "a"}'`:                    idempotency.ErrUnavailable,
		`response_json = '{"id": "1", "text": "a"}'`:                     idempotency.ErrUnavailable,
		`response_json = '[]'`:                                           idempotency.ErrUnavailable,
		`response_json = 'null'`:                                         idempotency.ErrUnavailable,
		`hash_version = 2`:                                               idempotency.ErrUnavailable,
		`hash_version = 0`:                                               idempotency.ErrUnavailable,
		`request_id = null`:                                              nil,
		`trace_id = null`:                                                nil,
		`trace_id = '0af7651916cd43dd8448eb211c80319c'`:                  nil,
		`operation = 'renamed'`:                                          idempotency.ErrKeyReused,
		`request_hash = sha256('b')`:                                     idempotency.ErrKeyReused,
	} {
		f.exec(`truncate idempotency_keys, notes`)
		mustDo(t, engine, "k", "a")
		f.exec(`update idempotency_keys set ` + update)
		o, err := do(t.Context(), engine, "k", "a")
		if !errors.Is(err, want) || want == nil && (!o.Replayed || o.Value.Text != "a") {
			t.Errorf("%s: %+v, %v; want %v", update, o, err, want)
		}
		f.effects(1)
	}
}

// Version 2 is first readable, then written; servers of both kinds share the rows.
func TestFingerprint_ChangesItsVersionWithoutASecondExecution(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	older, newer := f.engine(idempotency.Config{}), f.engine(idempotency.Config{FingerprintVersion: 2})
	known := func(most int16) func(int16) ([32]byte, bool) {
		return func(version int16) ([32]byte, bool) {
			return sha256.Sum256([]byte{byte(version), 'a'}), version <= most
		}
	}
	run := func(engine *idempotency.Engine, key string, most int16) (outcome, error) {
		c := call(key, "a")
		c.Fingerprint = known(most)
		return run(t.Context(), engine, c, write("a"))
	}
	for name, step := range map[string]struct {
		first, second *idempotency.Engine
		most          int16
		want          error
	}{
		"1 is read by a server that writes 2":     {older, newer, 2, nil},
		"2 is read by a server that knows it":     {newer, older, 2, nil},
		"2 is not read by one that knows 1 alone": {newer, older, 1, idempotency.ErrUnavailable},
	} {
		if o, err := run(step.first, name, 2); err != nil || o.Replayed {
			t.Fatalf("%s: %+v, %v", name, o, err)
		}
		o, err := run(step.second, name, step.most)
		if !errors.Is(err, step.want) || err == nil && !o.Replayed {
			t.Errorf("%s: %+v, %v; want %v", name, o, err, step.want)
		}
	}
	f.effects(3)
}

// A caller's connection may reach another table than the engine's.
func TestLookupOn_LeavesTheEngineItsTable(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`create schema other; create table other.idempotency_keys (like idempotency_keys including all)`)
	mustDo(t, f.engine(idempotency.Config{}), "k", "a")
	engine := f.engine(idempotency.Config{})
	tx, err := f.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	if _, err := tx.Exec(t.Context(), `set local search_path = other`); err != nil {
		t.Fatal(err)
	}
	if _, known, err := engine.LookupOn(t.Context(), tx, "tenant", "k"); err != nil || known {
		t.Errorf("looked up in the other table: known %t, %v", known, err)
	}
	if o, err := do(t.Context(), engine, "k", "a"); err != nil || !o.Replayed {
		t.Errorf("%+v, %v; want a replay", o, err)
	}
	f.effects(1)
}

func TestLookup_TellsWhatAKeyDid(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{})
	for _, key := range []string{"unknown", "", " no key", "k\x00"} {
		if e, known, err := engine.Lookup(t.Context(), "tenant", key); err != nil || known {
			t.Errorf("%q: %+v, %t, %v", key, e, known, err)
		}
	}
	gate := newGate()
	running := start(t.Context(), engine, call("k", "a"), gate.before(write("a")))
	<-gate.entered
	if _, known, err := engine.Lookup(t.Context(), "tenant", "k"); err != nil || known {
		t.Errorf("in flight: known %t, %v", known, err)
	}
	_, err := engine.Forget(t.Context(), "tenant", "k")
	wantError(t, err, idempotency.ErrInProgress)
	close(gate.open)
	o := (<-running).outcome
	e, known, err := engine.Lookup(t.Context(), "tenant", "k")
	if err != nil || !known || e.Key != "k" || e.Operation != "write" || e.RequestID != "request of a" || e.TraceID != traceID || e.SpanID != spanID || e.Expired ||
		!e.ExecutedAt.Equal(o.ExecutedAt) || !e.ExpiresAt.Equal(o.ExpiresAt) {
		t.Errorf("%+v, %t, %v; the outcome is %+v", e, known, err, o)
	}
	if _, known, _ := engine.Lookup(t.Context(), "other", "k"); known {
		t.Error("another scope knows the key")
	}
	f.exec(`update idempotency_keys set expires_at = now()`)
	if e, _, _ := engine.Lookup(t.Context(), "tenant", "k"); !e.Expired {
		t.Errorf("expired: %+v", e)
	}

	e, _, err = engine.Lookup(t.Context(), "tenant", "k")
	if err != nil {
		t.Fatal(err)
	}
	tx, err := f.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	for what, q := range map[string]idempotency.Querier{"a pool": f.pool, "a connection": tx.Conn(), "a transaction": tx} {
		for _, of := range []*idempotency.Engine{engine, f.engine(idempotency.Config{})} {
			there, known, err := of.LookupOn(t.Context(), q, "tenant", "k")
			if diff := cmp.Diff(e, there); err != nil || !known || !there.Expired {
				t.Errorf("on %s: %t, %v (-want +got):\n%s", what, known, err, diff)
			}
			for scope, want := range map[string]int64{"tenant": 1, "other": 0} {
				usage, err := of.UsageOn(t.Context(), q, scope, 10)
				if err != nil || usage.Keys != want || usage.Bytes > 0 != (want > 0) {
					t.Errorf("of %s on %s: %+v, %v; want %d keys and their bytes", scope, what, usage, err, want)
				}
			}
			if usage, err := of.UsageOn(t.Context(), q, "tenant", 0); err != nil || usage.Keys != 0 {
				t.Errorf("of no more than 0 keys on %s: %+v, %v", what, usage, err)
			}
			for _, key := range []string{"unknown", "", "k\x00"} {
				if there, known, err := of.LookupOn(t.Context(), q, "tenant", key); err != nil || known {
					t.Errorf("%q on %s: %+v, %t, %v", key, what, there, known, err)
				}
			}
		}
	}

	for _, want := range []bool{true, false} {
		if removed, err := engine.Forget(t.Context(), "tenant", "k"); removed != want || err != nil {
			t.Errorf("forgotten: %t, %v; want %t", removed, err, want)
		}
	}
	if o := mustDo(t, engine, "k", "b"); o.Replayed {
		t.Errorf("a forgotten key: %+v, want an execution", o)
	}
}

func TestExpiry_IsByTheDatabasesClock(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{TTL: time.Hour, Retention: 2 * time.Hour})
	var now time.Time
	o, err := run(t.Context(), engine, call("k", "a"), func(ctx context.Context, tx pgx.Tx) (note, error) {
		if err := tx.QueryRow(ctx, `select now()`).Scan(&now); err != nil {
			return note{}, err
		}
		return write("a")(ctx, tx)
	})
	if err != nil || !o.ExecutedAt.Equal(now) || !o.ExpiresAt.Equal(now.Add(time.Hour)) {
		t.Errorf("executed at %s, until %s, %v; the transaction's now() is %s", o.ExecutedAt, o.ExpiresAt, err, now)
	}
	age := func(by string) {
		f.exec(`update idempotency_keys set created_at = created_at - $1::text::interval, expires_at = expires_at - $1::text::interval,
			retained_until = retained_until - $1::text::interval`, by)
	}
	age("61 minutes")
	_, err = do(t.Context(), engine, "k", "a")
	wantError(t, err, idempotency.ErrKeyExpired)
	_, err = do(t.Context(), engine, "k", "b")
	wantError(t, err, idempotency.ErrKeyReused)
	if n, err := engine.Purge(t.Context()); n != 0 || err != nil {
		t.Errorf("within its retention %d rows were purged, %v", n, err)
	}
	age("60 minutes")
	if n, err := engine.Purge(t.Context()); n != 1 || err != nil {
		t.Errorf("past its retention %d rows were purged, %v", n, err)
	}
	if o := mustDo(t, engine, "k", "b"); o.Replayed {
		t.Errorf("a purged key: %+v, want an execution", o)
	}
}

// A fingerprint that panics over a row's version is its caller's to recover from:
// the engine goes on.
func TestDo_PanicOfAFingerprintIsItsCallers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	mustDo(t, f.engine(idempotency.Config{}), "k", "a")
	newer := f.engine(idempotency.Config{FingerprintVersion: 2})
	c := call("k", "a")
	c.Fingerprint = func(version int16) ([32]byte, bool) {
		if version == 1 {
			panic("a defect")
		}
		return [32]byte{2}, true
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the caller has seen no panic")
			}
		}()
		_, _ = run(t.Context(), newer, c, write("a"))
	}()
	c.Key = "k2"
	if o, err := run(t.Context(), newer, c, write("a")); err != nil || o.Replayed {
		t.Errorf("the next call: %+v, %v; want it executed", o, err)
	}
}

// What the row keeps of the trace is all or nothing, and a trace may be known without its
// span.
func TestTrace_IsKeptAsItIs(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{})
	batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), writes)
	for key, ids := range map[string][2]string{"both": {traceID, spanID}, "no span": {traceID, ""}, "none": {"", ""}} {
		for kind, send := range map[string]func(idempotency.Call) (outcome, error){
			"single": func(c idempotency.Call) (outcome, error) { return run(t.Context(), engine, c, write("a")) },
			"batch":  func(c idempotency.Call) (outcome, error) { return batch.Do(t.Context(), c, "a") },
		} {
			c := call(kind+" "+key, "a")
			c.TraceID, c.SpanID = ids[0], ids[1]
			for _, replayed := range []bool{false, true} {
				o, err := send(c)
				if err != nil || o.Replayed != replayed || o.TraceID != ids[0] || o.SpanID != ids[1] {
					t.Errorf("%s: %+v, %v; want the trace %q and the span %q", c.Key, o, err, ids[0], ids[1])
				}
			}
			found, _, err := engine.Lookup(t.Context(), "tenant", c.Key)
			if err != nil || found.TraceID != ids[0] || found.SpanID != ids[1] {
				t.Errorf("%s: looked up %+v, %v; want the trace %q and the span %q", c.Key, found, err, ids[0], ids[1])
			}
		}
	}
	if n := f.count(`select count(*) from idempotency_keys where trace_id is null`); n != 2 {
		t.Errorf("%d rows have no trace, want 2", n)
	}
}
