package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/onceql/onceql/chaos/cluster"
	"github.com/onceql/onceql/chaos/fleet"
	"github.com/onceql/onceql/chaos/proxy"
)

// Kinds of faults, as the record counts them.
const (
	serverKilled     = "server killed"
	serverFrozen     = "server frozen"
	serverRolled     = "server rolled"
	bouncerKilled    = "pgbouncer killed"
	bouncerMisled    = "pgbouncer led to the standby"
	primaryKilled    = "primary killed"
	primaryFrozen    = "primary frozen"
	primaryImmediate = "primary shut immediately"
	standbyKilled    = "standby killed"
	backendsEnded    = "backends terminated"
	failedOver       = "failover"
	clockShifted     = "clock shifted"
	diskFull         = "disk full"
	commitLost       = "COMMIT lost"
	answerLost       = "COMMIT's answer lost"
	messageCut       = "message cut"
	stalled          = "message stalled"
)

// A stream is faults one after another; streams run side by side.
type stream struct {
	name string
	// faults by kind. Each says whether it came about.
	faults map[string]func(context.Context) (bool, error)
	// deck is the kinds in the order in which they come: all of them before one comes
	// again.
	deck []string
	// rest is how long the pause after a fault is at most.
	rest time.Duration
}

// chaos is what faults happen to.
type chaos struct {
	cluster *cluster.Cluster
	fleet   *fleet.Fleet
	// programs are the builds that servers are rolled to.
	programs []string
	streams  []*stream

	mu     sync.Mutex
	counts map[string]int
	// stepped is how many of the faults came at a named step of an execution.
	stepped int
}

func newChaos(c *cluster.Cluster, f *fleet.Fleet, programs []string) *chaos {
	return &chaos{cluster: c, fleet: f, programs: programs, counts: make(map[string]int)}
}

// draw makes the streams of faults anew from a seed.
func (x *chaos) draw(seed uint64) {
	x.streams = []*stream{
		x.databases(rand.New(rand.NewPCG(seed, 1))),
		x.servers(rand.New(rand.NewPCG(seed, 2))),
		x.messages(rand.New(rand.NewPCG(seed, 3))),
	}
	for i, s := range x.streams {
		random := rand.New(rand.NewPCG(seed, uint64(10+i)))
		kinds := sortedKeys(s.faults)
		s.deck = nil
		for range 100 {
			random.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
			s.deck = append(s.deck, kinds...)
		}
	}
}

// run has faults happen until ctx ends, and returns once the last ones are over. An
// error is this program's own.
func (x *chaos) run(ctx context.Context) error {
	errs := make(chan error, len(x.streams))
	for _, s := range x.streams {
		go func() { errs <- x.flow(ctx, s) }()
	}
	var first error
	for range x.streams {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (x *chaos) flow(ctx context.Context, s *stream) error {
	for i := 0; ctx.Err() == nil; i++ {
		kind := s.deck[i%len(s.deck)]
		// What was begun is brought to its end.
		happened, err := s.faults[kind](context.WithoutCancel(ctx))
		if err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		if happened {
			x.count(kind)
		}
		select {
		case <-ctx.Done():
		case <-time.After(rand.N(s.rest)):
		}
	}
	return nil
}

func (x *chaos) count(kind string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.counts[kind]++
}

// takeCounts returns how often each kind came about since the last time, and how many of
// all came at a named step.
func (x *chaos) takeCounts() (counts map[string]int, stepped int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	counts, stepped = x.counts, x.stepped
	x.counts, x.stepped = make(map[string]int), 0
	return counts, stepped
}

// stepPatience is how long a fault waits for an execution to come to its step.
const stepPatience = time.Second

// atStep does something while a message of an execution is held at the step, or at any
// moment once it has waited in vain for one.
func (x *chaos) atStep(s *fleet.Server, step proxy.Step, something func()) {
	if s.AtStep(step, stepPatience, something) {
		x.atNamedStep()
	}
}

func (x *chaos) atNamedStep() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.stepped++
}

// sometimesAtStep does something at a step in two of three cases, and else at any moment.
func (x *chaos) sometimesAtStep(random *rand.Rand, s *fleet.Server, something func()) {
	n := random.IntN(3)
	step := proxy.Steps[random.IntN(len(proxy.Steps))]
	if n == 0 || s.Proxy == nil {
		something()
		return
	}
	x.atStep(s, step, something)
}
