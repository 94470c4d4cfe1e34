package idempotency_test

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/onceql/onceql/idempotency"
)

// closed closes the engine; afterwards it does nothing any more.
func closed(t testing.TB, engine *idempotency.Engine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), testTimeout)
	defer cancel()
	if err := engine.Close(ctx); err != nil {
		t.Errorf("closing the engine: %v", err)
	}
}

// closing starts to close the engine, and returns once it takes no new calls.
func closing(ctx context.Context, t testing.TB, engine *idempotency.Engine) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- engine.Close(ctx) }()
	eventually(t, "the engine closes", engine.Closing)
	return done
}

func TestClose_AnswersTheCallsThatItHas(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{Workers: 1})
	gate := newGate()
	calls := []<-chan reply{start(t.Context(), engine, call("running", "a"), gate.before(write("a")))}
	gate.arrived(t)
	for _, key := range []string{"queued", "queued too"} {
		calls = append(calls, start(t.Context(), engine, call(key, "a"), write("a")))
		waiting(t, engine, key, 1)
	}
	done := closing(t.Context(), t, engine)

	for _, key := range []string{"running", "queued", "new"} {
		_, err := run(t.Context(), engine, call(key, "a"), never(t))
		wantError(t, err, idempotency.ErrClosed)
		wantError(t, err, idempotency.ErrUnavailable)
	}
	select {
	case err := <-done:
		t.Fatalf("Close returned %v while calls were under way", err)
	default:
	}
	close(gate.open)
	for _, replies := range calls {
		if o, err := replied(t, replies); err != nil || o.Replayed {
			t.Errorf("a call under way: %+v, %v; want it executed", o, err)
		}
	}
	if err := <-done; err != nil {
		t.Errorf("Close: %v", err)
	}
	closed(t, engine)
	_, err := run(t.Context(), engine, call("new", "a"), never(t))
	wantError(t, err, idempotency.ErrClosed)
	f.effects(3)
}

// What runs, what is queued and what waits for another process: Close leaves
// them when its time is over, and later finds that each has ended.
func TestClose_LeavesWhenItsTimeIsOver(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine, elsewhere := f.engine(idempotency.Config{Workers: 3, Batches: 2}), f.engine(idempotency.Config{})
	gate := newGate()
	away := start(t.Context(), elsewhere, call("away", "a"), gate.before(write("a")))
	gate.arrived(t)

	calls := []<-chan reply{start(t.Context(), engine, call("away", "a"), never(t))}
	waiting(t, engine, "away", 1)
	for _, key := range []string{"running", "running too"} {
		calls = append(calls, start(t.Context(), engine, call(key, "a"), gate.before(write("a"))))
		gate.arrived(t)
	}
	calls = append(calls,
		start(t.Context(), engine, call("running", "a"), never(t)),
		start(t.Context(), engine, call("running", "b"), never(t)),
		start(t.Context(), engine, call("queued", "a"), never(t)),
	)
	waiting(t, engine, "running", 3)
	waiting(t, engine, "queued", 1)

	ctx, cancel := context.WithCancel(t.Context())
	done := closing(ctx, t, engine)
	for _, replies := range calls {
		silent(t, replies)
	}
	cancel()
	wantError(t, <-done, context.Canceled)
	for _, replies := range calls {
		_, err := replied(t, replies)
		wantError(t, err, idempotency.ErrClosed)
	}
	wantError(t, engine.Close(ctx), context.Canceled)

	close(gate.open)
	if _, err := replied(t, away); err != nil {
		t.Error(err)
	}
	closed(t, engine)
	closed(t, engine)
	for _, key := range []string{"running", "running too"} {
		if o, err := run(t.Context(), elsewhere, call(key, "a"), never(t)); err != nil || !o.Replayed {
			t.Errorf("%s: %+v, %v; want a replay", key, o, err)
		}
	}
	f.effects(3)
	if o := mustDo(t, elsewhere, "queued", "b"); o.Replayed {
		t.Error("the queued call has executed")
	}
}

// goroutines is how many goroutines run the engine's code.
func goroutines() int {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	n := 0
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		if strings.Contains(stack, "onceql/idempotency.") || strings.Contains(stack, "onceql/idempotency/internal/schedule.") {
			n++
		}
	}
	return n
}

// Not parallel: it looks at the goroutines of the whole process.
func TestClose_LeavesNoGoroutine(t *testing.T) {
	eventually(t, "the engines of other tests have ended", func() bool { return goroutines() == 0 })
	f := newFixture(t)
	engine := f.engine(idempotency.Config{Workers: 3, PurgeEvery: time.Hour})
	mustDo(t, engine, "k", "a")
	if n := goroutines(); n < 4 {
		t.Fatalf("%d goroutines of the engine, want 3 workers and the purge", n)
	}
	closed(t, engine)
	eventually(t, "the goroutines end", func() bool { return goroutines() == 0 })

	engine = f.engine(idempotency.Config{Workers: 1, PurgeEvery: time.Hour})
	gate := newGate()
	running := start(t.Context(), engine, call("running", "a"), gate.before(write("a")))
	gate.arrived(t)
	queued := start(t.Context(), engine, call("queued", "a"), never(t))
	waiting(t, engine, "queued", 1)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	wantError(t, engine.Close(over), context.Canceled)
	for _, replies := range []<-chan reply{running, queued} {
		_, err := replied(t, replies)
		wantError(t, err, idempotency.ErrClosed)
	}
	close(gate.open)
	eventually(t, "the goroutines end by themselves", func() bool { return goroutines() == 0 })
	f.effects(2)
}
