package idempotency_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/internal/pgtest"
)

func TestServer_GoesAwayAndComesBack(t *testing.T) {
	t.Parallel()
	postgres := pgtest.NewServer(t)
	f := fixtureAt(t, postgres.URL())
	engine := f.engine(idempotency.Config{Budget: time.Second, Wait: 2 * time.Second})
	mustDo(t, engine, "before", "a")

	gate := newGate()
	running := start(t.Context(), engine, call("running", "a"), gate.before(write("a")))
	<-gate.entered
	postgres.Stop(t)
	close(gate.open)
	wantError(t, (<-running).err, idempotency.ErrUnavailable)
	_, err := do(t.Context(), engine, "during", "a")
	wantError(t, err, idempotency.ErrUnavailable)
	_, _, err = engine.Lookup(t.Context(), "tenant", "before")
	wantError(t, err, idempotency.ErrUnavailable)
	_, err = engine.Forget(t.Context(), "tenant", "before")
	wantError(t, err, idempotency.ErrUnavailable)

	postgres.Start(t)
	for _, key := range []string{"during", "running"} {
		if o := mustDo(t, engine, key, "a"); o.Replayed {
			t.Errorf("%s: %+v, want an execution", key, o)
		}
	}
	if o := mustDo(t, engine, "before", "a"); !o.Replayed {
		t.Errorf("before: %+v, want a replay", o)
	}
	f.pool.Reset()
	f.effects(3)
}

// A default of the database, of the role or of the connection can't change what
// the protocol rests on.
func TestTransaction_IsReadCommittedAndReadWrite(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	pool := f.open(f.url+"&default_transaction_read_only=on&default_transaction_isolation=serializable", 4)
	_, err := run(t.Context(), f.engineOn(pool, idempotency.Config{}), call("k", "a"),
		func(ctx context.Context, tx pgx.Tx) (note, error) {
			var access, isolation string
			err := tx.QueryRow(ctx, `select current_setting('transaction_read_only'), current_setting('transaction_isolation')`).
				Scan(&access, &isolation)
			if err != nil || access != "off" || isolation != "read committed" {
				t.Errorf("read only: %s, isolation: %s, %v", access, isolation, err)
			}
			return write("a")(ctx, tx)
		})
	if err != nil {
		t.Error(err)
	}
	f.effects(1)
}
