package idempotency_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/internal/pgtest"
)

func TestServer_GoesAwayAndComesBack(t *testing.T) {
	t.Parallel()
	postgres := pgtest.NewServer(t)
	w := worldAt(t, postgres.URL())
	engine := w.engine(idempotency.Config{Budget: 2 * time.Second, Wait: 20 * time.Second})
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
	w.pool.Reset()
	w.effects(3)
}

// A standby that confirms nothing: neither a first call nor a replay may be
// acknowledged, because a failover would lose it.
func TestStandby_ThatIsAwayKeepsAnswersBack(t *testing.T) {
	t.Parallel()
	postgres := pgtest.NewServer(t)
	w := worldAt(t, postgres.URL())
	config := idempotency.Config{Budget: 300 * time.Millisecond, Wait: 2 * time.Second}
	engine := w.engine(config)
	mustDo(t, engine, "before", "a")
	standby := func(names string) {
		w.exec(`alter system set synchronous_standby_names = '` + names + `'`)
		w.exec(`select pg_reload_conf()`)
		eventually(t, "the setting to hold", func() bool {
			conn, err := pgx.Connect(t.Context(), w.url)
			if err != nil {
				return false
			}
			defer conn.Close(t.Context())
			var set string
			err = conn.QueryRow(t.Context(), `show synchronous_standby_names`).Scan(&set)
			return err == nil && set == names
		})
	}
	standby("nobody")
	// Connections read the new setting between two transactions, some a moment
	// later than others; a pool of its own has no old ones.
	engine = w.engine(config)

	for _, key := range []string{"before", "k"} {
		o, err := do(t.Context(), engine, key, "a")
		if !errors.Is(err, idempotency.ErrUnavailable) && !errors.Is(err, idempotency.ErrInProgress) {
			t.Errorf("%s: %+v, %v; want no answer while the standby is away", key, o, err)
		}
	}

	standby("")
	for _, key := range []string{"before", "k"} {
		eventually(t, key+" to go through", func() bool {
			_, err := do(t.Context(), engine, key, "a")
			return err == nil
		})
	}
	w.effects(2)
}

// A default of the database, of the role or of the connection can't change what
// the protocol rests on.
func TestTransaction_IsReadCommittedAndReadWrite(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pool := w.open(w.url+"&default_transaction_read_only=on&default_transaction_isolation=serializable", 3)
	_, err := idempotency.Do(t.Context(), w.engineOn(pool, idempotency.Config{}), call("k", "a"),
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
	w.effects(1)
}
