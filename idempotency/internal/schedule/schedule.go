// Package schedule keeps the calls in flight and decides when each of them runs,
// and together with which others. It is memory only: it knows no database.
//
// There is one Call for an identity at a time. The callers that ask for it meanwhile
// follow its leader, the first of them, and need no place in the queue. A call is
// queued until a worker takes it, singly or in a batch, and hands it to
// Hooks.Execute, which says with one of the Call's methods what became of it:
//
//	Resolve  it has its outcome; everyone hears it
//	Refuse   a definite error; the leader and the followers who ask for the same hear it
//	Fail     an error of this try; the leader hears it
//	Again    nothing was decided; it goes back, and runs again as long as somebody waits
//
// After Refuse and Fail the next follower leads. What runs is never interrupted, and
// what nobody waits for any more is not begun.
//
// No caller decides what becomes of another: places and workers are shared
// between scopes, see pool and places.
package schedule

import (
	"context"
	"errors"
	"runtime/pprof"
	"strconv"
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

// A Batch says how calls run together: those that come with the same one may.
type Batch struct {
	// Max is how many calls run together at most, Bytes how large their payloads are
	// together. A larger call runs by itself.
	Max, Bytes int
	// Across says that calls of many scopes may run together.
	Across bool
}

// Config says how much runs side by side.
type Config struct {
	// Singles and Batches are the workers for calls that run singly and for batches.
	Singles, Batches int
	// Reserve adds one worker of each kind for scopes that have nothing running.
	Reserve bool
	// Queue is how many calls may wait for a worker. Calls that run again wait there even
	// when it is full.
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
	// What it says nothing of runs again, singly.
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
	// runs counts how often a worker took calls.
	runs    int
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
		kind, workers, delay := "single", config.Singles, time.Duration(0)
		if p == &s.batches {
			kind, workers, delay = "batch", config.Batches, config.MaxBatchDelay
		}
		p.init(workers, delay, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.wake(p)
		})
		for n := range workers {
			s.start(ctx, p, &worker{name: kind + " " + strconv.Itoa(n)})
		}
		if config.Reserve {
			s.start(ctx, p, &worker{name: kind + " reserve", reserve: true})
		}
	}
	s.lookups.init(config.LookUpAfter)
	s.workers.Go(func() { labelled(ctx, "look-ups", s.serveLookUps) })
	go func() {
		s.workers.Wait()
		close(s.stopped)
	}()
	return s
}

// Do waits for the outcome of the call with the id, at most as long as wait. When no
// such call is in flight it starts one, for the caller c: in a batch, or singly when
// batch is nil. size is that of its payload in bytes. The error is what Refuse or Fail
// were given, ErrFull, ErrClosed, or a *WaitError.
func (s *Scheduler[C, O]) Do(ctx context.Context, id ID, batch *Batch, size int, wait time.Duration, c C) (O, error) {
	w := &caller[C, O]{value: c, batch: batch, size: size, answer: make(chan answer[O], 1)}
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
func (s *Scheduler[C, O]) join(id ID, w *caller[C, O]) (*Call[C, O], error) {
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
		c.call = c
		s.inflight[id] = c
	}
	c.callers.push(&w.node, w)
	s.waiting++
	if !follows {
		s.enqueue(c)
	}
	return c, nil
}

// leave ends the caller's wait. A call that nobody waits for is given up, unless it
// runs.
func (s *Scheduler[C, O]) leave(c *Call[C, O], w *caller[C, O], cause error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := &WaitError{Cause: cause, Last: c.last}
	if err.Last == nil {
		err.Last = s.gate.err
	}
	if c.state == done || w.node.list == nil {
		return err // The answer is there or comes.
	}
	led := c.callers.front() == w
	w.node.remove()
	s.waiting--
	next := c.callers.front()
	switch {
	case c.state == running: // It goes on, whoever waits.
	case next == nil:
		s.unqueue(c)
		s.finish(c)
	case led && c.state == queued && (next.batch != w.batch || next.size != w.size):
		// The next caller's may run with other calls.
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

// enqueue gives the call to the workers, for its first caller, or ends it when nobody
// waits. The caller holds the mutex.
func (s *Scheduler[C, O]) enqueue(c *Call[C, O]) {
	leader := c.callers.front()
	if leader == nil {
		s.finish(c)
		return
	}
	c.batch, c.size, c.state = leader.batch, leader.size, queued
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

// route returns whose workers run the call, and the queue in which it waits for them.
// The caller holds the mutex.
func (s *Scheduler[C, O]) route(c *Call[C, O]) (*pool, queueKey) {
	scope := c.id.Scope
	switch {
	case c.batch == nil || c.Single:
		return &s.singles, queueKey{scope: scope}
	case !c.batch.Across:
		return &s.batches, queueKey{batch: c.batch, scope: scope}
	case len(s.faults.scopes) > 0 && s.faults.apart(scope):
		return &s.batches, queueKey{batch: c.batch, scope: scope, apart: true}
	}
	return &s.batches, queueKey{batch: c.batch, across: true}
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
	if c.queue != nil {
		p = s.poolOf(c.queue)
		p.drop(&c.entry)
		s.places.leave(&c.entry)
	}
	c.unseen.remove()
	return p
}

// poolOf returns the pool that has the queue.
func (s *Scheduler[C, O]) poolOf(q *workerQueue) *pool {
	if q.batch == nil {
		return &s.singles
	}
	return &s.batches
}

// passable says whether a worker may go to the database now. The caller holds the
// mutex.
func (s *Scheduler[C, O]) passable() bool { return !s.gate.shut || s.gate.due() }

// wake hands what waits to free workers. What a worker runs, and when, is decided here,
// and not by who gets the mutex first. The caller holds it.
func (s *Scheduler[C, O]) wake(p *pool) {
	for s.passable() {
		w := p.hand()
		if w == nil {
			return
		}
		s.runs++
		w.run, w.try = s.runs, 0
		if s.gate.shut {
			w.try = s.try()
		}
		for _, e := range w.entries {
			c := s.call(e)
			s.places.leave(e)
			e.unseen.remove()
			c.runFor = c.callers.front()
			c.Leader, c.state = c.runFor.value, running
			c.run, c.asked = w.run, false
		}
		w.handed <- struct{}{}
	}
}

// labelled runs a worker. Profiles, and the hooks' context, tell its name by the label
// "worker".
func labelled(ctx context.Context, name string, run func(context.Context)) {
	pprof.Do(ctx, pprof.Labels("worker", name), run)
}

// A worker is handed the calls that it runs.
type worker struct {
	name    string
	reserve bool
	node    node[worker]
	entries []*entry
	queue   *workerQueue
	// run numbers what it runs, and try the gate's try, if it is one.
	run, try int
	begun    time.Time
	handed   chan struct{}
}

// start starts a worker.
func (s *Scheduler[C, O]) start(ctx context.Context, p *pool, w *worker) {
	w.handed = make(chan struct{}, 1)
	p.release(w)
	s.workers.Go(func() {
		labelled(ctx, w.name, func(ctx context.Context) {
			for range w.handed {
				calls := make([]*Call[C, O], len(w.entries))
				for i, e := range w.entries {
					calls[i] = s.call(e)
				}
				s.hooks.Execute(ctx, calls)
				s.executed(p, w, calls)
			}
		})
	})
}

// executed runs the calls again of which the hook said nothing, and frees the worker.
func (s *Scheduler[C, O]) executed(p *pool, w *worker, calls []*Call[C, O]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range calls {
		if c.state == running && c.run == w.run {
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
	return e.call.(*Call[C, O]) //nolint:errcheck // join put it there.
}
