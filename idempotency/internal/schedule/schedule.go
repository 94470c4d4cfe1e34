// Package schedule keeps the calls in flight and decides when each of them runs,
// and together with which others. It is memory only: it knows no database.
//
// There is one Call for an identity at a time. The callers that ask for it meanwhile
// follow its leader, the first of them, and need no place in the queue. A call is
// queued until a worker takes it, alone or in a batch, and hands it to
// Hooks.Execute, which says with one of the Call's methods what became of it:
//
//	Settle   it has its outcome; everyone hears it
//	Refuse   a definite error; the leader and the followers who ask for the same hear it
//	Fail     an error of this try; the leader hears it
//	Again    nothing was decided; it goes back, and runs again as long as somebody waits
//
// After Refuse and Fail the next follower leads. What runs is never interrupted, and
// what nobody waits for any more is not begun.
//
// No caller decides what becomes of another: places, workers and turns are shared
// between scopes, see pool and places.
package schedule

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

var (
	// ErrFull reports a call that found no place, or had to give up its own.
	ErrFull = errors.New("the queue is full")
	// ErrClosed reports a call that came after Close, or one that Close gave up.
	ErrClosed = errors.New("the scheduler is closed")
)

// A WaitError reports a caller whose wait ended before its call had an outcome.
type WaitError struct {
	// Cause is why its context ended; nil when the wait was over.
	Cause error
	// Last is what Again was last given: what kept the call from an outcome at its last
	// try; or why the database can't be reached; else nil: the call was not tried yet,
	// or waited for an execution elsewhere.
	Last error
}

// Error says that the wait is over.
func (e *WaitError) Error() string { return "the wait for the call is over" }

// An ID is what makes two calls the same.
type ID struct{ Scope, Key string }

// A Lane holds the calls that may run together, in batches.
type Lane struct {
	// Max is how many calls a batch has at most, Bytes how large their payloads are
	// together. A call that is larger by itself has a batch of its own.
	Max, Bytes int
	// Across says that a batch may have calls of many scopes.
	Across bool
}

// Config says how much runs side by side.
type Config struct {
	// Singles and Batches are the workers for calls that run alone and for batches.
	Singles, Batches int
	// Reserve adds one worker of each kind for scopes that have nothing running.
	Reserve bool
	// Queue is how many calls may wait for a worker. Those that come back to run again
	// need not ask for a place.
	Queue int
	// MaxBatchDelay bounds how long a batch that is smaller than those under way
	// waits for more calls, once there is a worker for it.
	MaxBatchDelay time.Duration
	// LookUpAfter is how long a call waits for a worker before it is looked up.
	LookUpAfter time.Duration
	// Jitter returns a random duration between half of the given one and all of it.
	Jitter func(time.Duration) time.Duration
}

// Hooks do the work. They are called without the scheduler's mutex.
type Hooks[C, O any] struct {
	// Execute runs the calls and says of each what became of it before it returns.
	// What it says nothing of runs again, alone.
	Execute func(context.Context, []*Call[C, O])
	// LookUp finds the outcomes that are there already, and says Found or Missed.
	LookUp func(context.Context, []*Call[C, O])
	// Same says whether two callers of one identity ask for the same. It is called
	// with the scheduler's mutex.
	Same func(a, b C) bool
}

// A Scheduler runs calls. It is safe for use by many goroutines.
type Scheduler[C, O any] struct {
	config  Config
	hooks   Hooks[C, O]
	workers sync.WaitGroup
	stopped chan struct{}

	mu       sync.Mutex
	inflight map[ID]*Call[C, O]
	// waiting counts the callers that wait.
	waiting int
	// turns counts how often a worker took calls.
	turns   int
	places  places
	singles pool
	batches pool
	lookups lookups
	faults  faults
	gate    gate
	// away mirrors whether the gate is shut, for those who do not hold the mutex.
	away    atomic.Bool
	closing bool
}

// New returns a scheduler whose workers run until Close. The hooks are called with
// ctx, which must outlive it.
func New[C, O any](ctx context.Context, config Config, hooks Hooks[C, O]) *Scheduler[C, O] {
	s := &Scheduler[C, O]{
		config:   config,
		hooks:    hooks,
		stopped:  make(chan struct{}),
		inflight: map[ID]*Call[C, O]{},
	}
	s.places.init(config.Queue)
	for _, p := range []*pool{&s.singles, &s.batches} {
		workers, delay := config.Singles, time.Duration(0)
		if p == &s.batches {
			workers, delay = config.Batches, config.MaxBatchDelay
		}
		p.init(workers, delay, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.wake(p)
		})
		for range workers {
			s.start(ctx, p, &worker{})
		}
		if config.Reserve {
			s.start(ctx, p, &worker{reserve: true})
		}
	}
	s.lookups.init(config.LookUpAfter)
	s.workers.Go(func() { s.serveLookUps(ctx) })
	go func() {
		s.workers.Wait()
		close(s.stopped)
	}()
	return s
}

// Do waits for the outcome of the call with the id, at most as long as wait. When no
// such call is in flight it starts one, for the caller c, in the lane, or alone when
// lane is nil. size is that of its payload in bytes. The error is what Refuse or Fail
// were given, ErrFull, ErrClosed, or a *WaitError.
func (s *Scheduler[C, O]) Do(ctx context.Context, id ID, lane *Lane, size int, wait time.Duration, c C) (O, error) {
	w := &waiter[C, O]{caller: c, lane: lane, size: size, answer: make(chan answer[O], 1)}
	call, err := s.join(id, w)
	if err != nil {
		return *new(O), err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case a := <-w.answer:
		return a.outcome, a.err
	case <-ctx.Done():
	case <-timer.C:
	}
	err = s.leave(call, w, context.Cause(ctx))
	// The answer may have come at the same moment.
	select {
	case a := <-w.answer:
		return a.outcome, a.err
	default:
		return *new(O), err
	}
}

// join adds the caller to the call in flight, or starts one.
func (s *Scheduler[C, O]) join(id ID, w *waiter[C, O]) (*Call[C, O], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil, ErrClosed
	}
	c, follows := s.inflight[id]
	if !follows {
		if s.places.full() && !s.evictFor(id.Scope) {
			return nil, ErrFull
		}
		c = &Call[C, O]{scheduler: s, entry: entry{id: id}}
		c.owner = c
		s.inflight[id] = c
	}
	c.waiters.push(&w.node, w)
	s.waiting++
	if !follows {
		s.enqueue(c)
	}
	return c, nil
}

// leave ends the caller's wait. A call that nobody waits for is given up, unless it
// runs.
func (s *Scheduler[C, O]) leave(c *Call[C, O], w *waiter[C, O], cause error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := &WaitError{Cause: cause, Last: c.last}
	if err.Last == nil {
		err.Last = s.gate.err
	}
	if c.state == done || w.node.list == nil {
		return err // The answer is there or comes.
	}
	led := c.waiters.front() == w
	w.node.remove()
	s.waiting--
	next := c.waiters.front()
	switch {
	case c.state == running: // It goes on, whoever waits.
	case next == nil:
		s.unqueue(c)
		s.finish(c)
	case led && c.state == queued && (next.lane != w.lane || next.size != w.size):
		// The next caller may belong into another lane.
		s.unqueue(c)
		s.enqueue(c)
	}
	return err
}

// Refuses says whether a new call of the scope would find no place now.
func (s *Scheduler[C, O]) Refuses(scope string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.places.full() && !s.places.yields(scope)
}

// Reached says that a worker reached the database.
func (s *Scheduler[C, O]) Reached() {
	if s.away.Load() {
		s.openGate()
	}
}

// enqueue gives the call to the workers, for its first waiter, or ends it when nobody
// waits. The caller holds the mutex.
func (s *Scheduler[C, O]) enqueue(c *Call[C, O]) {
	leader := c.waiters.front()
	if leader == nil {
		s.finish(c)
		return
	}
	c.lane, c.size, c.state = leader.lane, leader.size, queued
	c.since = time.Now()
	p, key := s.route(c)
	s.places.take(&c.entry)
	p.push(key, &c.entry)
	if first := s.lookups.comesFirst && p == &s.singles && !c.lookedUp; !first || !s.passable() {
		s.wake(p)
	}
	if c.state == queued && !c.lookedUp {
		s.expectLookUp(c)
	}
}

// route returns whose workers run the call, and the group in which it waits for them.
// The caller holds the mutex.
func (s *Scheduler[C, O]) route(c *Call[C, O]) (*pool, groupKey) {
	scope := c.id.Scope
	switch {
	case c.lane == nil || c.Alone:
		return &s.singles, groupKey{scope: scope}
	case !c.lane.Across:
		return &s.batches, groupKey{lane: c.lane, scope: scope}
	case len(s.faults.scopes) > 0 && s.faults.apart(scope):
		return &s.batches, groupKey{lane: c.lane, scope: scope, apart: true}
	}
	return &s.batches, groupKey{lane: c.lane, across: true}
}

// unqueue takes the call out of wherever it waits. The caller holds the mutex.
func (s *Scheduler[C, O]) unqueue(c *Call[C, O]) {
	p := s.withdraw(c)
	if p != nil {
		s.wake(p) // The shares of the others may have grown.
	}
}

// withdraw is unqueue for many calls; it returns the pool that had this one, if any.
func (s *Scheduler[C, O]) withdraw(c *Call[C, O]) (p *pool) {
	if c.group != nil {
		p = s.poolOf(c.group)
		p.drop(&c.entry)
		s.places.leave(&c.entry)
	}
	c.unseen.remove()
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	return p
}

// poolOf returns the pool that has the group.
func (s *Scheduler[C, O]) poolOf(g *group) *pool {
	if g.lane == nil {
		return &s.singles
	}
	return &s.batches
}

// passable says whether a worker may go to the database now. The caller holds the
// mutex.
func (s *Scheduler[C, O]) passable() bool { return !s.gate.shut || s.gate.due() }

// wake hands what waits to free workers. Whatever a worker may run, and whenever it may,
// is decided here, and not by who comes first to the mutex. The caller holds it.
func (s *Scheduler[C, O]) wake(p *pool) {
	for s.passable() {
		w := p.hand()
		if w == nil {
			return
		}
		s.turns++
		w.turn, w.try = s.turns, 0
		if s.gate.shut {
			w.try = s.try()
		}
		for _, e := range w.entries {
			c := s.call(e)
			s.places.leave(e)
			e.unseen.remove()
			c.runFor = c.waiters.front()
			c.Leader, c.state = c.runFor.caller, running
			c.turn, c.asked = w.turn, false
		}
		w.handed <- struct{}{}
	}
}

// A worker is handed the calls that it runs.
type worker struct {
	reserve bool
	node    node[worker]
	entries []*entry
	group   *group
	// turn is that of the scheduler, and try that of the gate, if any.
	turn, try int
	begun     time.Time
	handed    chan struct{}
}

// start starts a worker.
func (s *Scheduler[C, O]) start(ctx context.Context, p *pool, w *worker) {
	w.handed = make(chan struct{}, 1)
	p.release(w)
	s.workers.Go(func() {
		for range w.handed {
			calls := make([]*Call[C, O], len(w.entries))
			for i, e := range w.entries {
				calls[i] = s.call(e)
			}
			s.hooks.Execute(ctx, calls)
			s.executed(p, w, calls)
		}
	})
}

// executed sees to the calls of which the hook said nothing, and frees the worker.
func (s *Scheduler[C, O]) executed(p *pool, w *worker, calls []*Call[C, O]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range calls {
		if c.state == running && c.turn == w.turn {
			s.again(c, Singly, errUndecided)
		}
	}
	if w.try > 0 {
		s.tried(w.try)
	}
	p.done(w)
	p.release(w)
	if s.closing {
		s.release()
	}
	s.wake(p)
}

func (s *Scheduler[C, O]) call(e *entry) *Call[C, O] {
	return e.owner.(*Call[C, O]) //nolint:errcheck // join put it there.
}
