package idempotency_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

// insist sends the call until its outcome is known, as a client should.
func insist(t testing.TB, engine *idempotency.Engine, call idempotency.Call, effect effect) (outcome, error) {
	t.Helper()
	var o outcome
	var err error
	eventually(t, "the outcome is known", func() bool {
		o, err = run(t.Context(), engine, call, effect)
		return !errors.Is(err, idempotency.ErrUnavailable) && !errors.Is(err, idempotency.ErrInProgress)
	})
	return o, err
}

// The network comes to a standstill at the COMMIT and no connection ends: the
// execution ends by the Budget, and then it is looked up and run again, or the call
// ends by the Wait. Postgres's own timeouts free the key, and the same call goes
// through, by the same engine or another.
func TestCommit_ThatStallsEndsByTheBudget(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault fault
		wait  time.Duration
		want  error
		// committed says whether Postgres carried the stalled COMMIT out.
		committed bool
	}{
		"the request, longer than the Budget": {requestStalled, time.Minute, nil, false},
		"the request, longer than the Wait":   {requestStalled, 50 * time.Millisecond, idempotency.ErrInProgress, false},
		"the reply, longer than the Budget":   {replyStalled, time.Minute, nil, true},
		"the reply, longer than the Wait":     {replyStalled, 50 * time.Millisecond, idempotency.ErrInProgress, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			proxy, url := newProxy(t, f.url)
			engine := f.engineOn(f.open(url, 4), idempotency.Config{Wait: test.wait, Budget: 2 * time.Second})
			direct := f.engine(idempotency.Config{Wait: time.Minute})
			mustDo(t, direct, "before", "a")
			var runs atomic.Int32
			t.Cleanup(proxy.cut)
			met := proxy.arm(test.fault)
			_, err := run(t.Context(), engine, call("k", "a"), counted(&runs, write("a")))
			wantError(t, err, test.want)
			<-met

			o, err := insist(t, direct, call("k", "a"), counted(&runs, write("a")))
			if replayed := test.committed || test.want == nil; err != nil || o.Replayed != replayed {
				t.Errorf("the call over another engine: %+v, %v; want replayed: %t", o, err, replayed)
			}
			if again, err := insist(t, engine, call("k", "a"), never(t)); err != nil || !again.Replayed || again.Value != o.Value {
				t.Errorf("the call over the same engine: %+v, %v; want a replay of %+v", again, err, o)
			}
			want := int32(2)
			if test.committed {
				want = 1
			}
			if n := runs.Load(); n != want {
				t.Errorf("the effect ran %d times, want %d", n, want)
			}
			f.effects(2)
		})
	}
}

// Whoever waits for a call that is stalled hears what it comes to in the end.
func TestCommit_ThatStallsKeepsItsFollowers(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]fault{"the request": requestStalled, "the reply": replyStalled} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			proxy, url := newProxy(t, f.url)
			engine := f.engineOn(f.open(url, 4), idempotency.Config{Wait: time.Minute, Budget: 2 * time.Second})
			gate := newGate()
			leader := start(t.Context(), engine, call("k", "a"), gate.before(write("a")))
			gate.arrived(t)
			equal := start(t.Context(), engine, call("k", "a"), write("a"))
			waiting(t, engine, "k", 2)
			other := start(t.Context(), engine, call("k", "b"), never(t))
			waiting(t, engine, "k", 3)
			t.Cleanup(proxy.cut)
			met := proxy.arm(fault)
			close(gate.open)
			<-met

			if o, err := replied(t, leader); err != nil || o.Replayed {
				t.Errorf("the leader: %+v, %v; want it executed", o, err)
			}
			if o, err := replied(t, equal); err != nil || !o.Replayed {
				t.Errorf("the equal call: %+v, %v; want a replay", o, err)
			}
			_, err := replied(t, other)
			wantError(t, err, idempotency.ErrKeyReused)
			f.effects(1)
		})
	}
}

// The commit has a budget of its own: an effect that took most of the execution's
// is committed, and acknowledged, after that one is over.
func TestCommit_OutlivesTheBudgetOfTheExecution(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	proxy, url := newProxy(t, f.url)
	const budget = 2 * time.Second
	engine := f.engineOn(f.open(url, 4), idempotency.Config{Wait: time.Minute, Budget: budget})
	mustDo(t, engine, "before", "a")
	t.Cleanup(proxy.cut)
	met := proxy.arm(replyHeld)
	over := make(chan time.Time, 10)
	replies := start(t.Context(), engine, call("k", "a"), func(ctx context.Context, tx pgx.Tx) (note, error) {
		deadline, _ := ctx.Deadline()
		over <- deadline
		_, err := tx.Exec(ctx, `select pg_sleep($1)`, (budget / 2).Seconds())
		if err != nil {
			return note{}, err
		}
		return write("a")(ctx, tx)
	})
	<-met
	deadline := <-over
	for len(over) > 0 { // A batch's budget was not enough for it.
		deadline = <-over
	}
	silent(t, replies)
	<-time.After(time.Until(deadline) + 50*time.Millisecond)
	silent(t, replies)
	close(proxy.release)
	if o, err := replied(t, replies); err != nil || o.Replayed {
		t.Errorf("%+v, %v; want it executed", o, err)
	}
	f.effects(2)
}
