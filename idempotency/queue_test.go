package idempotency_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

// A busyEngine is an engine whose one worker is held back by an effect at a gate, so
// that the calls that follow stand in its queue.
type busyEngine struct {
	t      testing.TB
	f      *fixture
	engine *idempotency.Engine
	gate   *gate
	places int
	busy   <-chan reply
	// calls are those in the queue, by scope and key.
	calls map[string]<-chan reply

	mu  sync.Mutex
	ran []string
}

func newBusyEngine(t testing.TB, places int) *busyEngine {
	t.Helper()
	f := newFixture(t)
	b := &busyEngine{t: t, f: f, places: places, gate: newGate(), calls: map[string]<-chan reply{}}
	b.engine = f.engine(idempotency.Config{Workers: 1, Queue: places})
	b.busy = start(t.Context(), b.engine, call("busy", "a"), b.gate.before(write("a")))
	b.gate.arrived(t)
	return b
}

// full says whether the queue refuses one more call of a scope that has the most.
func full(b *busyEngine) bool { return b.engine.Stats().Queued >= b.places }

// send starts a call of the scope whose effect notes that it ran.
func (b *busyEngine) send(scope, key string) <-chan reply {
	c := call(key, "a")
	c.Scope = scope
	return start(b.t.Context(), b.engine, c, func(ctx context.Context, tx pgx.Tx) (note, error) {
		b.mu.Lock()
		b.ran = append(b.ran, scope+key)
		b.mu.Unlock()
		return write("a")(ctx, tx)
	})
}

// queue sends a call of each name, a scope and a key of one letter each, and
// returns once it has its place.
func (b *busyEngine) queue(names ...string) {
	b.t.Helper()
	for _, name := range names {
		scope, key := name[:1], name[1:]
		if b.engine.Refuses(scope) {
			b.t.Errorf("%s: there is said to be no place", name)
		}
		b.calls[name] = b.send(scope, key)
		eventually(b.t, name+" is queued", func() bool { return b.engine.WaitingFor(scope, key) == 1 })
	}
}

// refused checks that there is no place for such a call.
func (b *busyEngine) refused(name string) {
	b.t.Helper()
	if !b.engine.Refuses(name[:1]) {
		b.t.Errorf("%s: there is said to be a place", name)
	}
	b.overloaded(name, b.send(name[:1], name[1:]))
}

// evicted checks that a call has lost its place to another scope's.
func (b *busyEngine) evicted(name string) {
	b.t.Helper()
	b.overloaded(name, b.calls[name])
	delete(b.calls, name)
}

func (b *busyEngine) overloaded(name string, replies <-chan reply) {
	b.t.Helper()
	_, err := replied(b.t, replies)
	if !errors.Is(err, idempotency.ErrOverloaded) || !errors.Is(err, idempotency.ErrUnavailable) {
		b.t.Errorf("%s: error %v, want ErrOverloaded", name, err)
	}
}

// served opens the gate and checks that the calls then run in this order.
func (b *busyEngine) served(want ...string) {
	b.t.Helper()
	close(b.gate.open)
	if _, err := replied(b.t, b.busy); err != nil {
		b.t.Error(err)
	}
	for name, replies := range b.calls {
		if _, err := replied(b.t, replies); err != nil {
			b.t.Errorf("%s: %v", name, err)
		}
	}
	if diff := cmp.Diff(want, b.ran); diff != "" {
		b.t.Errorf("calls run (-want +got):\n%s", diff)
	}
	if full(b) {
		b.t.Error("the empty queue is full")
	}
	b.f.effects(1 + len(want))
}

func TestQueue_OneScopeAloneMayUseAllOfIt(t *testing.T) {
	t.Parallel()
	b := newBusyEngine(t, 3)
	b.queue("a1", "a2")
	if full(b) {
		t.Error("the queue is full with a place left")
	}
	b.queue("a3")
	if !full(b) {
		t.Error("the queue is not full")
	}
	b.refused("a4")
	b.served("a1", "a2", "a3")
}

func TestQueue_ScopesTakeTurns(t *testing.T) {
	t.Parallel()
	b := newBusyEngine(t, 7)
	b.queue("a1", "a2", "a3", "a4", "b1", "b2", "c1")
	b.served("a1", "b1", "c1", "a2", "b2", "a3", "a4")
}

func TestQueue_FullQueueIsSharedFairly(t *testing.T) {
	t.Parallel()
	b := newBusyEngine(t, 4)
	b.queue("a1", "a2", "a3", "a4")

	// A newcomer takes the last place of the fullest scope, until that has no
	// more than it.
	b.queue("b1")
	b.evicted("a4")
	b.queue("b2")
	b.evicted("a3")
	b.refused("b3")
	b.refused("a5")
	b.queue("c1")
	b.evicted("a2")
	b.refused("a6")
	b.queue("d1")
	b.evicted("b2")
	// One place each: there is none to give up.
	b.refused("e1")
	b.served("a1", "b1", "c1", "d1")

	// Who lost a place has consumed no key.
	c := call("4", "another payload")
	c.Scope = "a"
	if o, err := run(t.Context(), b.engine, c, write("a")); err != nil || o.Replayed {
		t.Errorf("an evicted key, sent again: %+v, %v; want it executed", o, err)
	}
}

func TestQueue_EveryCallerOfAnEvictedKeyIsOverloaded(t *testing.T) {
	t.Parallel()
	b := newBusyEngine(t, 2)
	b.queue("a1", "a2")
	joined := b.send("a", "2")
	eventually(t, "a second caller joins", func() bool { return b.engine.WaitingFor("a", "2") == 2 })
	b.queue("b1")
	b.evicted("a2")
	b.overloaded("a2 again", joined)
	b.served("a1", "b1")
}

func TestQueue_JoiningNeedsNoPlace(t *testing.T) {
	t.Parallel()
	b := newBusyEngine(t, 1)
	b.queue("a1")
	if !full(b) {
		t.Fatal("the queue is not full")
	}
	var joined []<-chan reply
	for key, c := range map[string]idempotency.Call{
		"of the running call": call("busy", "a"),
		"of the queued call":  {Scope: "a", Key: "1", Operation: "write", Fingerprint: fingerprint("a")},
	} {
		joined = append(joined, start(t.Context(), b.engine, c, never(t)))
		eventually(t, "a caller joins the key "+key, func() bool { return b.engine.WaitingFor(c.Scope, c.Key) == 2 })
	}
	b.served("a1")
	for _, replies := range joined {
		if o, err := replied(t, replies); err != nil || !o.Replayed {
			t.Errorf("a call that joined: %+v, %v; want a replay", o, err)
		}
	}
}
