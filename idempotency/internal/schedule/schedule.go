// Package schedule keeps the calls in flight and decides when each of them runs,
// and together with which others. It is memory only: it knows no database.
//
// There is one Call for an identity at a time. The callers that ask for it meanwhile
// follow its leader, the first of them, and hold nothing but their place. A call is
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
	"container/list"
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
	// Last is what kept the call from an outcome at its last try, or why the database
	// can't be reached; else nil: it was executing, here or elsewhere, or waited for that.
	Last error
}

// Error says that the wait is over.
func (e *WaitError) Error() string { return "the wait for the call is over" }

// An ID is what makes two calls the same.
type ID struct{ Scope, Key string }

// A Lane holds the calls that may run together, in batches.
type Lane struct {
	// Max is how many calls a batch has at most, Bytes how large their payloads are
	// together.
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
	// Queue is how many calls may wait for a worker.
	Queue int
	// MaxBatchDelay bounds how long a batch that is smaller than those under way
	// waits for more calls.
	MaxBatchDelay time.Duration
	// LookUpAfter is how long a call waits for a worker before it is looked up.
	LookUpAfter time.Duration
	// Jitter returns a random duration between half of the given one and all of it.
	Jitter func(time.Duration) time.Duration
}

// Hooks do the work. They are called without the scheduler's mutex.
type Hooks[C, O any] struct {
	// Execute runs the calls and says of each what became of it.
	Execute func(context.Context, []*Call[C, O])
	// LookUp finds the outcomes that are there already, and says Found or Missed.
	LookUp func(context.Context, []*Call[C, O])
	// Same says whether two callers of one identity ask for the same.
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
	places   places
	singles  pool
	batches  pool
	lookups  lookups
	faults   faults
	gate     gate
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
	s.singles.init(&s.mu, config.Singles, 0)
	s.batches.init(&s.mu, config.Batches, config.MaxBatchDelay)
	s.lookups.init(&s.mu, config.LookUpAfter)
	for _, p := range []*pool{&s.singles, &s.batches} {
		for range p.workers {
			s.workers.Go(func() { s.serve(ctx, p, false) })
		}
		if config.Reserve {
			s.workers.Go(func() { s.serve(ctx, p, true) })
		}
	}
	s.workers.Go(func() { s.serveLookUps(ctx) })
	go func() {
		s.workers.Wait()
		close(s.stopped)
	}()
	return s
}

// A waiter is one caller's wait for its call.
type waiter[C, O any] struct {
	caller C
	lane   *Lane
	size   int
	// answer has room for the one answer: nobody waits for a caller that left.
	answer  chan answer[O]
	element *list.Element
}

type answer[O any] struct {
	outcome O
	err     error
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
		err = s.leave(call, w, context.Cause(ctx))
	case <-timer.C:
		err = s.leave(call, w, nil)
	}
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
	if c := s.inflight[id]; c != nil {
		w.element = c.waiters.PushBack(w)
		return c, nil
	}
	evicted, ok := s.places.admit(id.Scope)
	if !ok {
		return nil, ErrFull
	}
	if evicted != nil {
		c := s.call(evicted)
		s.unqueue(c)
		s.finish(c, answer[O]{err: ErrFull})
	}
	c := &Call[C, O]{scheduler: s, entry: entry{id: id}}
	c.owner = c
	w.element = c.waiters.PushBack(w)
	s.inflight[id] = c
	s.enqueue(c)
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
	if c.state == done || w.element == nil {
		return err
	}
	led := c.waiters.Front() == w.element
	c.remove(w)
	switch {
	case c.state == running:
	case c.waiters.Len() == 0:
		s.unqueue(c)
		s.finish(c, answer[O]{})
	case led && c.state == queued:
		// The next caller may belong into another lane.
		if next := c.first(); next.lane != w.lane || next.size != w.size {
			s.unqueue(c)
			s.enqueue(c)
		}
	}
	return err
}

// enqueue gives the call to the workers, for its first waiter, or ends it when nobody
// waits. The caller holds the mutex.
func (s *Scheduler[C, O]) enqueue(c *Call[C, O]) {
	if c.waiters.Len() == 0 {
		s.finish(c, answer[O]{})
		return
	}
	leader := c.first()
	c.lane, c.size, c.state = leader.lane, leader.size, queued
	c.since = time.Now()
	p, key := s.pool(c)
	s.places.take(&c.entry)
	p.push(key, &c.entry)
	if !c.lookedUp {
		s.lookups.push(&c.entry, p.idle == 0)
		// Where most outcomes are there already, one look-up for many comes first.
		if s.lookups.after == 0 && p == &s.singles && s.gate.open() {
			s.lookups.wake()
			return
		}
	}
	s.wake(p)
}

// pool returns whose workers run the call, and the group in which it waits for them.
// The caller holds the mutex.
func (s *Scheduler[C, O]) pool(c *Call[C, O]) (*pool, groupKey) {
	switch {
	case c.lane == nil || c.Alone:
		return &s.singles, groupKey{scope: c.id.Scope}
	case !c.lane.Across:
		return &s.batches, groupKey{lane: c.lane, scope: c.id.Scope}
	case s.faults.apart(c.id.Scope):
		return &s.batches, groupKey{lane: c.lane, scope: c.id.Scope, apart: true}
	}
	return &s.batches, groupKey{lane: c.lane, across: true}
}

// poolOf returns the pool in which the call waits.
func (s *Scheduler[C, O]) poolOf(c *Call[C, O]) *pool {
	if c.group.lane == nil {
		return &s.singles
	}
	return &s.batches
}

// unqueue takes the call out of wherever it waits. The caller holds the mutex.
func (s *Scheduler[C, O]) unqueue(c *Call[C, O]) {
	if c.element != nil {
		s.poolOf(c).drop(&c.entry)
		s.places.leave(&c.entry)
	}
	s.lookups.remove(&c.entry)
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}

// finish ends the call and gives everyone who still waits the answer. The caller
// holds the mutex.
func (s *Scheduler[C, O]) finish(c *Call[C, O], a answer[O]) {
	c.state = done
	if s.inflight[c.id] == c {
		delete(s.inflight, c.id)
	}
	for c.waiters.Len() > 0 {
		c.answer(c.first(), a)
	}
	s.release()
}

// serve is a worker.
func (s *Scheduler[C, O]) serve(ctx context.Context, p *pool, reserve bool) {
	for {
		calls, g := s.next(p, reserve)
		if calls == nil {
			return
		}
		begun := time.Now()
		s.hooks.Execute(ctx, calls)
		s.mu.Lock()
		p.done(g, len(calls), time.Since(begun))
		s.wake(p)
		s.mu.Unlock()
	}
}

// next waits for calls that the worker should run. It returns nil once the scheduler
// is closing and has no call left.
func (s *Scheduler[C, O]) next(p *pool, reserve bool) ([]*Call[C, O], *group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if entries, g := s.takeFrom(p, reserve); entries != nil {
			calls := make([]*Call[C, O], len(entries))
			for i, e := range entries {
				c := s.call(e)
				s.places.leave(e)
				s.lookups.remove(e)
				c.runFor = c.first()
				c.Leader, c.state = c.runFor.caller, running
				c.taken++
				calls[i] = c
			}
			s.wake(p)
			return calls, g
		}
		if s.closing && len(s.inflight) == 0 {
			return nil, nil
		}
		p.wait(reserve)
	}
}

func (s *Scheduler[C, O]) takeFrom(p *pool, reserve bool) ([]*entry, *group) {
	if !s.gate.open() {
		return nil, nil
	}
	entries, g := p.take(reserve)
	if entries != nil {
		s.gate.pass()
	}
	return entries, g
}

// wake lets a worker look at what waits, when it is free and there is something. The
// caller holds the mutex.
func (s *Scheduler[C, O]) wake(p *pool) {
	if s.gate.open() {
		p.wake()
	}
}

func (s *Scheduler[C, O]) call(e *entry) *Call[C, O] {
	return e.owner.(*Call[C, O]) //nolint:errcheck // join put it there.
}

// Close takes no new calls and waits until those that it has are answered and the
// workers have ended. When ctx ends first, it answers whoever still waits with
// ErrClosed and returns ctx's error; what runs ends by itself.
func (s *Scheduler[C, O]) Close(ctx context.Context) error {
	s.mu.Lock()
	if !s.closing {
		s.closing = true
		s.release()
	}
	s.mu.Unlock()
	select {
	case <-s.stopped:
		return nil
	case <-ctx.Done():
		s.abandon()
		return ctx.Err()
	}
}

// abandon answers everyone who still waits, and gives up what does not run.
func (s *Scheduler[C, O]) abandon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.inflight {
		for c.waiters.Len() > 0 {
			c.answer(c.first(), answer[O]{err: ErrClosed})
		}
		if c.state != running {
			s.unqueue(c)
			s.finish(c, answer[O]{})
		}
	}
}

// release lets the workers go once the scheduler is closing and has no call left. The
// caller holds the mutex.
func (s *Scheduler[C, O]) release() {
	if s.closing && len(s.inflight) == 0 {
		s.singles.broadcast()
		s.batches.broadcast()
		s.lookups.work.Broadcast()
	}
}
