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

// A line is an engine whose one worker is held back by an effect at a gate, so
// that the calls that follow stand in its queue.
type line struct {
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

func newLine(t testing.TB, places int) *line {
	t.Helper()
	f := newFixture(t)
	l := &line{t: t, f: f, places: places, gate: newGate(), calls: map[string]<-chan reply{}}
	l.engine = f.engine(idempotency.Config{Workers: 1, Queue: places})
	l.busy = start(t.Context(), l.engine, call("busy", "a"), l.gate.before(write("a")))
	l.gate.arrived(t)
	return l
}

// full says whether the queue refuses one more call of a scope that has the most.
func full(l *line) bool { return l.engine.Stats().Queued >= l.places }

// send starts a call of the scope whose effect notes that it ran.
func (l *line) send(scope, key string) <-chan reply {
	c := call(key, "a")
	c.Scope = scope
	return start(l.t.Context(), l.engine, c, func(ctx context.Context, tx pgx.Tx) (note, error) {
		l.mu.Lock()
		l.ran = append(l.ran, scope+key)
		l.mu.Unlock()
		return write("a")(ctx, tx)
	})
}

// queue sends a call of each name, a scope and a key of one letter each, and
// returns once it has its place.
func (l *line) queue(names ...string) {
	l.t.Helper()
	for _, name := range names {
		scope, key := name[:1], name[1:]
		if l.engine.Refuses(scope) {
			l.t.Errorf("%s: there is said to be no place", name)
		}
		l.calls[name] = l.send(scope, key)
		eventually(l.t, name+" is queued", func() bool { return l.engine.WaitingFor(scope, key) == 1 })
	}
}

// refused checks that there is no place for such a call.
func (l *line) refused(name string) {
	l.t.Helper()
	if !l.engine.Refuses(name[:1]) {
		l.t.Errorf("%s: there is said to be a place", name)
	}
	l.overloaded(name, l.send(name[:1], name[1:]))
}

// evicted checks that a call has lost its place to another scope's.
func (l *line) evicted(name string) {
	l.t.Helper()
	l.overloaded(name, l.calls[name])
	delete(l.calls, name)
}

func (l *line) overloaded(name string, replies <-chan reply) {
	l.t.Helper()
	_, err := replied(l.t, replies)
	if !errors.Is(err, idempotency.ErrOverloaded) || !errors.Is(err, idempotency.ErrUnavailable) {
		l.t.Errorf("%s: error %v, want ErrOverloaded", name, err)
	}
}

// served opens the gate and checks that the calls then run in this order.
func (l *line) served(want ...string) {
	l.t.Helper()
	close(l.gate.open)
	if _, err := replied(l.t, l.busy); err != nil {
		l.t.Error(err)
	}
	for name, replies := range l.calls {
		if _, err := replied(l.t, replies); err != nil {
			l.t.Errorf("%s: %v", name, err)
		}
	}
	if diff := cmp.Diff(want, l.ran); diff != "" {
		l.t.Errorf("calls run (-want +got):\n%s", diff)
	}
	if full(l) {
		l.t.Error("the empty queue is full")
	}
	l.f.effects(1 + len(want))
}

func TestQueue_OneScopeAloneMayUseAllOfIt(t *testing.T) {
	t.Parallel()
	l := newLine(t, 3)
	l.queue("a1", "a2")
	if full(l) {
		t.Error("the queue is full with a place left")
	}
	l.queue("a3")
	if !full(l) {
		t.Error("the queue is not full")
	}
	l.refused("a4")
	l.served("a1", "a2", "a3")
}

func TestQueue_ScopesTakeTurns(t *testing.T) {
	t.Parallel()
	l := newLine(t, 7)
	l.queue("a1", "a2", "a3", "a4", "b1", "b2", "c1")
	l.served("a1", "b1", "c1", "a2", "b2", "a3", "a4")
}

func TestQueue_FullQueueIsSharedFairly(t *testing.T) {
	t.Parallel()
	l := newLine(t, 4)
	l.queue("a1", "a2", "a3", "a4")

	// A newcomer takes the last place of the fullest scope, until that has no
	// more than it.
	l.queue("b1")
	l.evicted("a4")
	l.queue("b2")
	l.evicted("a3")
	l.refused("b3")
	l.refused("a5")
	l.queue("c1")
	l.evicted("a2")
	l.refused("a6")
	l.queue("d1")
	l.evicted("b2")
	// One place each: there is none to give up.
	l.refused("e1")
	l.served("a1", "b1", "c1", "d1")

	// Who lost a place has consumed no key.
	c := call("4", "another payload")
	c.Scope = "a"
	if o, err := run(t.Context(), l.engine, c, write("a")); err != nil || o.Replayed {
		t.Errorf("an evicted key, sent again: %+v, %v; want it executed", o, err)
	}
}

func TestQueue_EveryCallerOfAnEvictedKeyIsOverloaded(t *testing.T) {
	t.Parallel()
	l := newLine(t, 2)
	l.queue("a1", "a2")
	joined := l.send("a", "2")
	eventually(t, "a second caller joins", func() bool { return l.engine.WaitingFor("a", "2") == 2 })
	l.queue("b1")
	l.evicted("a2")
	l.overloaded("a2 again", joined)
	l.served("a1", "b1")
}

func TestQueue_JoiningNeedsNoPlace(t *testing.T) {
	t.Parallel()
	l := newLine(t, 1)
	l.queue("a1")
	if !full(l) {
		t.Fatal("the queue is not full")
	}
	var joined []<-chan reply
	for key, c := range map[string]idempotency.Call{
		"of the running call": call("busy", "a"),
		"of the queued call":  {Scope: "a", Key: "1", Operation: "write", Fingerprint: fingerprint("a")},
	} {
		joined = append(joined, start(t.Context(), l.engine, c, never(t)))
		eventually(t, "a caller joins the key "+key, func() bool { return l.engine.WaitingFor(c.Scope, c.Key) == 2 })
	}
	l.served("a1")
	for _, replies := range joined {
		if o, err := replied(t, replies); err != nil || !o.Replayed {
			t.Errorf("a call that joined: %+v, %v; want a replay", o, err)
		}
	}
}
