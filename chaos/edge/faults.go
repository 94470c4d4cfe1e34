package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/onceql/onceql/chaos/fleet"
	"github.com/onceql/onceql/chaos/proxy"
)

// Kinds of faults, as the report counts them.
const (
	killed    = "killed"
	drained   = "drained"
	restarted = "restarted"
	hurried   = "ended at once"
	frozen    = "frozen"
	frozenFor = "frozen beyond the wait"
)

// beyond says whether the edge need not heal the fault: who waits for a server that has the
// key hears IDEMPOTENCY_IN_PROGRESS at the end of the wait.
func beyond(kind string) bool { return kind == frozenFor }

// A fault is something that happened to a server.
type fault struct {
	kind, server string
	// from and until are when it began, and when the server served again, since the start.
	from, until time.Duration
	// stepped says that it happened at a step of an execution that a proxy saw.
	stepped bool
	// noticed counts the tries that clients made meanwhile and that were not answered, or
	// with an error to come again; lost those of them with bodies beyond the edge's buffer.
	noticed, lost int
}

const (
	// serverPatience is how long a server may take to serve again.
	serverPatience = 30 * time.Second
	// stepPatience is how long a fault waits for an execution to come to its step.
	stepPatience = time.Second
	// drainDelay is the servers' DRAIN_DELAY: HAProxy takes 1 s to notice, see its inter and
	// fall. nginx notices by the next request.
	drainDelay = 1200 * time.Millisecond
	// settling is for how long after a fault an answer may still be the fault's.
	settling = 300 * time.Millisecond
)

// misfortune is what happens to servers, one at a time.
type misfortune struct {
	fleet   *fleet.Fleet
	program string
	random  *rand.Rand
	start   time.Time
	// deck is the kinds in the order in which they come: all of them before one comes again.
	deck []string

	mu     sync.Mutex
	faults []*fault
}

func newMisfortune(f *fleet.Fleet, program string, seed uint64, start time.Time) *misfortune {
	m := &misfortune{fleet: f, program: program, random: rand.New(rand.NewPCG(seed, 7)), start: start}
	for i := range 100 {
		kinds := []string{killed, drained, restarted, hurried, frozen, killed, frozen, drained}
		m.random.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
		m.deck = append(m.deck, kinds...)
		if i%2 == 1 {
			m.deck = append(m.deck, frozenFor)
		}
	}
	return m
}

// run has faults happen until ctx ends, and returns once the last one is over.
func (m *misfortune) run(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		s := m.fleet.Servers[m.random.IntN(len(m.fleet.Servers))]
		m.happen(m.deck[i%len(m.deck)], s)
		select {
		case <-ctx.Done():
		case <-time.After(m.between(2*settling, time.Second)):
		}
	}
}

func (m *misfortune) happen(kind string, s *fleet.Server) {
	f := &fault{kind: kind, server: s.Name}
	begin := func() { f.from = time.Since(m.start) }
	switch kind {
	case killed:
		m.perhapsAtStep(f, s, func() { begin(); s.Kill() })
	case drained:
		begin()
		s.Retire(m.between(0, time.Second))
	case restarted:
		begin()
		s.Deploy(m.program)
	case hurried:
		// The servers take a second signal within 0.3 s for the first.
		m.perhapsAtStep(f, s, func() { begin(); s.Hurry(m.between(400*time.Millisecond, drainDelay)) })
	case frozen:
		// Less than IDEMPOTENCY_WAIT.
		d := m.between(100*time.Millisecond, 3*time.Second)
		m.perhapsAtStep(f, s, func() { begin(); s.Freeze(d) })
	case frozenFor:
		d := m.between(6*time.Second, 9*time.Second)
		m.perhapsAtStep(f, s, func() { begin(); s.Freeze(d) })
	}
	s.Await(serverPatience)
	f.until = time.Since(m.start)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = append(m.faults, f)
}

// count is how many faults happened that an edge can heal.
func (m *misfortune) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, f := range m.faults {
		if !beyond(f.kind) {
			n++
		}
	}
	return n
}

// perhapsAtStep does something at a step of an execution in two of three cases, and else at
// any moment.
func (m *misfortune) perhapsAtStep(f *fault, s *fleet.Server, something func()) {
	n, step := m.random.IntN(3), proxy.Steps[m.random.IntN(len(proxy.Steps))]
	if n == 0 {
		something()
		return
	}
	f.stepped = s.AtStep(step, stepPatience, something)
}

func (m *misfortune) between(least, most time.Duration) time.Duration {
	return least + time.Duration(m.random.Int64N(int64(most-least)))
}
