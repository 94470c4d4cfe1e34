package idempotency_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

// testTimeout is how long a test waits for what has to come.
const testTimeout = 20 * time.Second

// eventually returns once the condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(testTimeout); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never came that %s", what)
		}
	}
}

// replied returns what a started call came to.
func replied(t testing.TB, replies <-chan reply) (outcome, error) {
	t.Helper()
	select {
	case r := <-replies:
		return r.outcome, r.err
	case <-time.After(testTimeout):
		t.Fatal("a call was never answered")
		return outcome{}, nil
	}
}

// silent checks that a started call has no answer yet.
func silent(t testing.TB, replies <-chan reply) {
	t.Helper()
	select {
	case r := <-replies:
		t.Errorf("a call was answered too early: %+v", r)
	default:
	}
}

// arrived returns once an effect has come to the gate.
func (g *gate) arrived(t testing.TB) {
	t.Helper()
	select {
	case <-g.entered:
	case <-time.After(testTimeout):
		t.Fatal("no effect came to the gate")
	}
}

// never is the effect of a call that must not execute.
func never(t testing.TB) effect {
	t.Helper()
	return func(context.Context, pgx.Tx) (note, error) {
		t.Error("the effect ran")
		return note{}, nil
	}
}

func fails(err error) effect {
	return func(context.Context, pgx.Tx) (note, error) { return note{}, err }
}

// from is the call as another request sends it.
func from(request string, call idempotency.Call) idempotency.Call {
	call.RequestID = request
	return call
}

func operation(name string, call idempotency.Call) idempotency.Call {
	call.Operation = name
	return call
}

func TestDo_LeadersFailureIsItsEqualsTooAndLetsOthersExecute(t *testing.T) {
	t.Parallel()
	refusal := errors.New("declined")
	isPanic := func(err error) bool { return errors.As(err, new(*idempotency.PanicError)) }
	for name, leader := range map[string]struct {
		effect effect
		is     func(error) bool
	}{
		"an error": {fails(refusal), func(err error) bool { return errors.Is(err, refusal) }},
		"a panic":  {func(context.Context, pgx.Tx) (note, error) { panic("no") }, isPanic},
		"Goexit":   {func(context.Context, pgx.Tx) (note, error) { runtime.Goexit(); return note{}, nil }, isPanic},
	} {
		for kind, other := range map[string]idempotency.Call{
			"another payload":   call("k", "b"),
			"another operation": operation("erase", call("k", "a")),
		} {
			t.Run(name+", "+kind, func(t *testing.T) {
				t.Parallel()
				f := newFixture(t)
				engine := f.engine(idempotency.Config{})
				gate := newGate()
				equals := []<-chan reply{start(t.Context(), engine, call("k", "a"), gate.before(leader.effect))}
				gate.arrived(t)
				equals = append(equals, start(t.Context(), engine, call("k", "a"), never(t)))
				waiting(t, engine, "k", 2)
				others := []<-chan reply{start(t.Context(), engine, other, write("b"))}
				waiting(t, engine, "k", 3)
				equals = append(equals, start(t.Context(), engine, call("k", "a"), never(t)))
				others = append(others, start(t.Context(), engine, other, never(t)))
				waiting(t, engine, "k", 5)
				close(gate.open)

				for _, replies := range equals {
					if _, err := replied(t, replies); !leader.is(err) {
						t.Errorf("an equal call got %v, want %s", err, name)
					}
				}
				first, err := replied(t, others[0])
				if err != nil || first.Replayed {
					t.Errorf("the first other call: %+v, %v; want it executed", first, err)
				}
				second, err := replied(t, others[1])
				if err != nil || !second.Replayed || second.Value != first.Value {
					t.Errorf("the second other call: %+v, %v; want a replay of %+v", second, err, first)
				}
				f.effects(1)
			})
		}
	}
}

func TestDo_LeaderThatLeavesIsReplayedToItsEquals(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{})
	gate := newGate()
	ctx, cancel := context.WithCancelCause(t.Context())
	leader := start(ctx, engine, from("the leader", call("k", "a")), gate.before(write("a")))
	gate.arrived(t)
	equal := start(t.Context(), engine, from("an equal", call("k", "a")), never(t))
	waiting(t, engine, "k", 2)

	hungUp := errors.New("hung up")
	cancel(hungUp)
	_, err := replied(t, leader)
	wantError(t, err, idempotency.ErrInProgress)
	wantError(t, err, hungUp)
	waiting(t, engine, "k", 1)
	close(gate.open)

	first, err := replied(t, equal)
	if err != nil || !first.Replayed || first.RequestID != "the leader" {
		t.Errorf("the equal call: %+v, %v; want a replay of the leader's", first, err)
	}
	retry, err := run(t.Context(), engine, call("k", "a"), never(t))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, retry); diff != "" {
		t.Errorf("the retry differs (-first +retry):\n%s", diff)
	}
	f.effects(1)
}

// A call whose caller leaves while the effect runs, and for which nobody else
// waits, still commits.
func TestDo_EffectGoesOnWithoutAnyCaller(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{})
	gate := newGate()
	ctx, cancel := context.WithCancel(t.Context())
	leader := start(ctx, engine, from("the leader", call("k", "a")), gate.before(write("a")))
	gate.arrived(t)
	cancel()
	_, err := replied(t, leader)
	wantError(t, err, context.Canceled)
	retry := start(t.Context(), engine, call("k", "a"), never(t))
	waiting(t, engine, "k", 1)
	close(gate.open)
	o, err := replied(t, retry)
	if err != nil || !o.Replayed || o.RequestID != "the leader" {
		t.Errorf("the retry: %+v, %v; want a replay of the leader's", o, err)
	}
	f.effects(1)
}

func TestDo_LeaderThatLeavesTheQueueHandsOver(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{Workers: 1})
	gate := newGate()
	busy := start(t.Context(), engine, call("busy", "a"), gate.before(write("a")))
	gate.arrived(t)

	ctx, cancel := context.WithCancel(t.Context())
	leaver := start(ctx, engine, call("k", "a"), never(t))
	waiting(t, engine, "k", 1)
	next := start(t.Context(), engine, from("the next", call("k", "a")), write("next"))
	waiting(t, engine, "k", 2)
	dropped := start(ctx, engine, call("dropped", "a"), never(t))
	waiting(t, engine, "dropped", 1)
	cancel()
	for _, replies := range []<-chan reply{leaver, dropped} {
		_, err := replied(t, replies)
		wantError(t, err, idempotency.ErrInProgress)
		wantError(t, err, context.Canceled)
	}
	close(gate.open)

	o, err := replied(t, next)
	if err != nil || o.Replayed || o.RequestID != "the next" || o.Value.Text != "next" {
		t.Errorf("the next caller: %+v, %v; want it executed", o, err)
	}
	if _, err := replied(t, busy); err != nil {
		t.Error(err)
	}
	// The one worker has passed the dropped call once a later one is answered.
	mustDo(t, engine, "later", "a")
	f.effects(3)
	if o := mustDo(t, engine, "dropped", "b"); o.Replayed {
		t.Error("the dropped call left something behind")
	}
}

func TestDo_EffectLongerThanTheWaitIsInProgress(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{Wait: 2 * time.Second})
	gate := newGate()
	callers := []<-chan reply{start(t.Context(), engine, from("the leader", call("k", "a")), gate.before(write("a")))}
	gate.arrived(t)
	for _, text := range []string{"a", "b"} {
		callers = append(callers, start(t.Context(), engine, call("k", text), never(t)))
	}
	// The gate is shut: it is the wait alone that ends these calls.
	for _, replies := range callers {
		_, err := replied(t, replies)
		wantError(t, err, idempotency.ErrInProgress)
	}
	close(gate.open)

	var o outcome
	eventually(t, "the key is replayed", func() bool {
		var err error
		o, err = run(t.Context(), engine, call("k", "a"), never(t))
		if err != nil && !errors.Is(err, idempotency.ErrInProgress) {
			t.Fatal(err)
		}
		return err == nil
	})
	if !o.Replayed || o.RequestID != "the leader" {
		t.Errorf("outcome %+v, want a replay of the leader's", o)
	}
	f.effects(1)
}

func TestDo_FollowersHoldNoConnection(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	pool := f.open(f.url, 8)
	engine := f.engineOn(pool, idempotency.Config{})
	gate := newGate()
	leader := start(t.Context(), engine, call("k", "a"), gate.before(write("a")))
	gate.arrived(t)
	equals := make([]<-chan reply, 100)
	for i := range equals {
		equals[i] = start(t.Context(), engine, call("k", "a"), never(t))
	}
	other := start(t.Context(), engine, call("k", "b"), never(t))
	waiting(t, engine, "k", 102)

	if held := pool.Stat().AcquiredConns(); held != 1 {
		t.Errorf("%d connections are held while 101 callers wait, want the leader's alone", held)
	}
	if blocked := f.count(`
		select count(*)
		from pg_stat_activity
		where datname = current_database() and wait_event_type = 'Lock'`); blocked != 0 {
		t.Errorf("%d sessions wait for a lock in Postgres", blocked)
	}
	// Whether the key is reused is known once its first call has committed.
	silent(t, other)
	close(gate.open)

	if _, err := replied(t, leader); err != nil {
		t.Error(err)
	}
	_, err := replied(t, other)
	wantError(t, err, idempotency.ErrKeyReused)
	for _, replies := range equals {
		if o, err := replied(t, replies); err != nil || !o.Replayed {
			t.Fatalf("a follower: %+v, %v; want a replay", o, err)
		}
	}
	if acquired := pool.Stat().AcquireCount(); acquired != 1 {
		t.Errorf("connections were taken %d times, want once for all", acquired)
	}
	f.effects(1)
}
