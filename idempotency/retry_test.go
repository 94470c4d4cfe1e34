package idempotency_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

// maxAttempts is how often the engine runs an effect that keeps losing its connection.
const maxAttempts = 3

// kinds collects the kinds of an engine's events.
type kinds struct {
	mu   sync.Mutex
	seen []string
}

func (k *kinds) observe(event idempotency.Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seen = append(k.seen, event.Kind.String())
}

func (k *kinds) want(t testing.TB, want ...string) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	if diff := cmp.Diff(want, k.seen); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func (k *kinds) all() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.seen)
}

func repeat(kind string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = kind
	}
	return list
}

// A loss ends the transaction's connection, and returns once its server process
// is gone and with it the locks.
type loss func(context.Context, pgx.Tx) error

// terminated is an operator's way.
func (f *fixture) terminated(ctx context.Context, tx pgx.Tx) error {
	pid := tx.Conn().PgConn().PID()
	if _, err := f.pool.Exec(ctx, `select pg_terminate_backend($1)`, pid); err != nil {
		return err
	}
	return f.gone(ctx, pid)
}

// cut is the network's way: Postgres sends no word.
func (f *fixture) cut(ctx context.Context, tx pgx.Tx) error {
	pid := tx.Conn().PgConn().PID()
	if err := tx.Conn().PgConn().Conn().Close(); err != nil {
		return err
	}
	return f.gone(ctx, pid)
}

func (f *fixture) gone(ctx context.Context, pid uint32) error {
	for {
		var there bool
		err := f.pool.QueryRow(ctx, `select exists (select from pg_stat_activity where pid = $1)`, pid).Scan(&there)
		if err != nil || !there {
			return err
		}
	}
}

// losses runs a subtest for each way to lose a connection, and for each thing
// that an effect may do once it is lost.
func losses(t *testing.T, test func(t *testing.T, f *fixture, lose loss, after effect)) {
	t.Helper()
	for name, after := range afterLoss {
		t.Run("terminated, "+name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			test(t, f, f.terminated, after)
		})
		t.Run("cut, "+name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			test(t, f, f.cut, after)
		})
	}
}

var afterLoss = map[string]effect{
	"the effect returns the error": write("lost"),
	"the effect swallows the error": func(ctx context.Context, tx pgx.Tx) (note, error) {
		n, _ := write("lost")(ctx, tx)
		return n, nil
	},
	"the effect does not notice": func(context.Context, pgx.Tx) (note, error) {
		return note{Text: "lost"}, nil
	},
}

func TestDo_LostConnectionIsRetried(t *testing.T) {
	t.Parallel()
	losses(t, func(t *testing.T, f *fixture, lose loss, after effect) {
		engine := f.engine(idempotency.Config{})
		gate := newGate()
		var attempts atomic.Int32
		leader := start(t.Context(), engine, call("k", "a"), gate.before(func(ctx context.Context, tx pgx.Tx) (note, error) {
			if attempts.Add(1) > 1 {
				return write("a")(ctx, tx)
			}
			if _, err := write("lost")(ctx, tx); err != nil {
				return note{}, err
			}
			if err := lose(ctx, tx); err != nil {
				t.Error(err)
			}
			return after(ctx, tx)
		}))
		gate.arrived(t)
		equal := start(t.Context(), engine, call("k", "a"), never(t))
		other := start(t.Context(), engine, call("k", "b"), never(t))
		waiting(t, engine, "k", 3)
		close(gate.open)

		first, err := replied(t, leader)
		if err != nil || first.Replayed || first.Value.Text != "a" {
			t.Errorf("the leader: %+v, %v; want it executed", first, err)
		}
		if o, err := replied(t, equal); err != nil || !o.Replayed || o.Value != first.Value {
			t.Errorf("the equal call: %+v, %v; want a replay", o, err)
		}
		_, err = replied(t, other)
		wantError(t, err, idempotency.ErrKeyReused)
		if n := attempts.Load(); n != 2 {
			t.Errorf("the effect ran %d times, want 2", n)
		}
		f.effects(1)
	})
}

func TestDo_LeaderThatKeepsLosingItsConnectionHandsOver(t *testing.T) {
	t.Parallel()
	losses(t, func(t *testing.T, f *fixture, lose loss, after effect) {
		engine := f.engine(idempotency.Config{})
		gate := newGate()
		var attempts atomic.Int32
		leader := start(t.Context(), engine, call("k", "a"), gate.before(func(ctx context.Context, tx pgx.Tx) (note, error) {
			attempts.Add(1)
			if err := lose(ctx, tx); err != nil {
				t.Error(err)
			}
			return after(ctx, tx)
		}))
		gate.arrived(t)
		next := start(t.Context(), engine, from("the next", call("k", "a")), write("next"))
		waiting(t, engine, "k", 2)
		equal := start(t.Context(), engine, call("k", "a"), never(t))
		waiting(t, engine, "k", 3)
		close(gate.open)

		_, err := replied(t, leader)
		wantError(t, err, idempotency.ErrUnavailable)
		if n := attempts.Load(); n != maxAttempts {
			t.Errorf("the leader's effect ran %d times, want %d", n, maxAttempts)
		}
		first, err := replied(t, next)
		if err != nil || first.Replayed || first.RequestID != "the next" {
			t.Errorf("the next caller: %+v, %v; want it executed", first, err)
		}
		if o, err := replied(t, equal); err != nil || !o.Replayed || o.Value != first.Value {
			t.Errorf("the equal call: %+v, %v; want a replay", o, err)
		}
		f.effects(1)
	})
}

// raise is an effect that writes and then fails with the SQLSTATE.
func raise(code string) effect {
	return func(ctx context.Context, tx pgx.Tx) (note, error) {
		n, err := write("lost")(ctx, tx)
		if err != nil {
			return n, err
		}
		_, err = tx.Exec(ctx, fmt.Sprintf(`do $$ begin raise exception using errcode = '%s'; end $$`, code))
		return n, err
	}
}

// SQLSTATEs after which nothing is there and the next attempt may succeed.
var transient = []string{"40001", "40P01", "53200", "53100", "08006", "58030", "25006", "57P03"}

func TestDo_EffectThatLosesOutRunsAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for i, code := range transient {
		var events kinds
		engine := f.engine(idempotency.Config{Workers: 1, Observer: events.observe})
		attempts := 0
		o, err := run(t.Context(), engine, call(code, "a"), func(ctx context.Context, tx pgx.Tx) (note, error) {
			if attempts++; attempts < maxAttempts {
				return raise(code)(ctx, tx)
			}
			return write("a")(ctx, tx)
		})
		if err != nil || o.Replayed || o.Value.Text != "a" {
			t.Errorf("%s: %+v, %v; want it executed", code, o, err)
		}
		if attempts != maxAttempts {
			t.Errorf("%s: the effect ran %d times, want %d", code, attempts, maxAttempts)
		}
		f.effects(i + 1)
		closed(t, engine)
		events.want(t, append(repeat("retried", maxAttempts-1), "executed")...)
	}
}

func TestDo_EffectThatAlwaysLosesOutIsUnavailable(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for i, code := range transient {
		var events kinds
		engine := f.engine(idempotency.Config{Workers: 1, Wait: time.Second, Observer: events.observe})
		var attempts atomic.Int32
		_, err := run(t.Context(), engine, call(code, "a"), func(ctx context.Context, tx pgx.Tx) (note, error) {
			attempts.Add(1)
			return raise(code)(ctx, tx)
		})
		wantError(t, err, idempotency.ErrUnavailable)
		// The last run goes on without its caller.
		eventually(t, "the effect to have ended", func() bool {
			s := engine.Stats()
			return s.InFlight == 0 && s.Workers == 0 && s.Batches == 0
		})
		if n := attempts.Load(); n < 2 {
			t.Errorf("%s: the effect ran %d times, want more", code, n)
		}
		f.effects(i)
		// The key is as good as new.
		if o := mustDo(t, engine, code, "b"); o.Replayed {
			t.Errorf("%s: the failed call left something behind", code)
		}
		closed(t, engine)
		// The last try may not have come to the effect.
		retried := max(int(attempts.Load()), len(events.all())-1)
		events.want(t, append(repeat("retried", min(retried, int(attempts.Load())+1)), "executed")...)
	}
}

func TestDo_EffectsOwnPostgresErrorIsDefinite(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{})
	// Codes near the ones that are run again, and the one of a lost race: it is
	// the statement that tells, not the code.
	for _, code := range []string{"23505", "40002", "P0001", "22012"} {
		attempts := 0
		_, err := run(t.Context(), engine, call("k", "a"), func(ctx context.Context, tx pgx.Tx) (note, error) {
			attempts++
			return raise(code)(ctx, tx)
		})
		var state interface{ SQLState() string }
		if !errors.As(err, &state) || state.SQLState() != code || errors.Is(err, idempotency.ErrUnavailable) {
			t.Errorf("%s: error %v, want the effect's own", code, err)
		}
		if attempts != 1 {
			t.Errorf("%s: the effect ran %d times, want once", code, attempts)
		}
	}
	f.effects(0)
}
