package schedule

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// maxLookUp is how many calls are looked up together at most.
const maxLookUp = 128

// lookups has the calls that are looked up in groups: those that have waited for a
// worker for a while, because their outcome may be there already, and those that are
// executed elsewhere. The scheduler's mutex guards it.
type lookups struct {
	// unseen are queued calls that were not looked up yet, oldest first.
	unseen list.List // of *entry
	// polls are calls that are due to be looked up now.
	polls []*entry
	// after is how long a call waits for a worker before it is looked up. While most
	// of those that are looked up are found, nothing.
	after, least time.Duration
	work         sync.Cond
	idle         bool
	timer        *time.Timer
}

func (l *lookups) init(mu *sync.Mutex, after time.Duration) {
	l.after, l.least, l.work.L = after, after, mu
}

// push notes a call that waits for a worker; busy, that none is free.
func (l *lookups) push(e *entry, busy bool) {
	e.unseen = l.unseen.PushBack(e)
	switch {
	case busy && l.after == 0:
		l.wake()
	case l.timer == nil:
		l.wakeIn(max(l.after, l.least))
	}
}

// poll notes a call whose outcome may be there now.
func (l *lookups) poll(e *entry) {
	l.polls = append(l.polls, e)
	l.wake()
}

func (l *lookups) remove(e *entry) {
	if e.unseen != nil {
		l.unseen.Remove(e.unseen)
		e.unseen = nil
	}
}

func (l *lookups) wake() {
	if l.idle {
		l.work.Signal()
	}
}

func (l *lookups) wakeIn(pause time.Duration) {
	l.timer = time.AfterFunc(pause, func() {
		l.work.L.Lock()
		defer l.work.L.Unlock()
		l.timer = nil
		l.wake()
	})
}

// take returns the calls that should be looked up now.
func (l *lookups) take() []*entry {
	n := min(len(l.polls), maxLookUp)
	due := append([]*entry(nil), l.polls[:n]...)
	l.polls = append(l.polls[:0], l.polls[n:]...)
	for len(due) < maxLookUp && l.unseen.Len() > 0 {
		e := l.unseen.Front().Value.(*entry) //nolint:errcheck // push put it there.
		if wait := l.after - time.Since(e.since); wait > 0 {
			if l.timer == nil {
				l.wakeIn(wait)
			}
			break
		}
		l.remove(e)
		e.lookedUp = true
		due = append(due, e)
	}
	return due
}

// learn sets how long calls wait before they are looked up, by how many of the last
// ones that had waited were found.
func (l *lookups) learn(found, of int) {
	switch {
	case of == 0:
	case 2*found >= of:
		l.after = 0
	default:
		l.after = l.least
	}
}

// serveLookUps is the worker that looks calls up.
func (s *Scheduler[C, O]) serveLookUps(ctx context.Context) {
	for {
		calls := s.nextLookUp()
		if calls == nil {
			return
		}
		s.hooks.LookUp(ctx, calls)
		s.lookedUp(calls)
	}
}

// nextLookUp waits for calls that should be looked up. It returns nil once the
// scheduler is closing and has no call left.
func (s *Scheduler[C, O]) nextLookUp() []*Call[C, O] {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if s.gate.open() {
			var calls []*Call[C, O]
			for _, e := range s.lookups.take() {
				if c := s.call(e); c.state == polled || c.state == queued {
					c.lookedUpAt = c.taken
					calls = append(calls, c)
				}
			}
			if calls != nil {
				return calls
			}
		}
		if s.closing && len(s.inflight) == 0 {
			return nil
		}
		s.lookups.idle = true
		s.lookups.work.Wait()
		s.lookups.idle = false
	}
}

// lookedUp learns from what the hook found, and sees to the calls that it said nothing
// of.
func (s *Scheduler[C, O]) lookedUp(calls []*Call[C, O]) {
	s.mu.Lock()
	found, waited := 0, 0
	for _, c := range calls {
		if c.lookedUp {
			waited++
			if c.state == done {
				found++
			}
		}
	}
	s.lookups.learn(found, waited)
	s.wake(&s.singles)
	s.mu.Unlock()
	for _, c := range calls {
		c.Missed(false)
	}
}

// A gate is shut while the database can't be reached: then one worker at a time tries,
// with pauses that grow. The scheduler's mutex guards it.
type gate struct {
	failures int
	// err is why it is shut.
	err    error
	until  time.Time
	trying bool
}

func (g *gate) open() bool {
	return g.failures == 0 || !g.trying && !time.Now().Before(g.until)
}

// pass notes that a worker goes through.
func (g *gate) pass() { g.trying = g.failures > 0 }

// Unreachable says that a worker could not reach the database, and why, which has nothing
// to do with any call: until one can, only one at a time tries.
func (s *Scheduler[C, O]) Unreachable(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gate.trying = false
	if time.Now().Before(s.gate.until) {
		return // Another worker has said so.
	}
	pause := s.backoff(s.gate.failures, mostRetry)
	s.gate = gate{failures: s.gate.failures + 1, err: err, until: time.Now().Add(pause)}
	s.away.Store(true)
	time.AfterFunc(pause, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.wake(&s.singles)
		s.wake(&s.batches)
		s.lookups.wake()
	})
}

// Reached says that a worker reached the database.
func (s *Scheduler[C, O]) Reached() {
	if !s.away.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gate = gate{}
	s.away.Store(false)
	s.singles.broadcast()
	s.batches.broadcast()
	s.lookups.wake()
}

// faults counts what harmed batches, by scope. The scheduler's mutex guards it.
type faults map[string]*fault

type fault struct {
	score float64
	until time.Time
}

// A scope is kept apart once one call in ten or so is at fault, and until faultFor
// after the last fault. What goes well meanwhile does not count: it is what keeping it
// apart is for.
const (
	apartAt    = 2
	mostFaults = 4
	forgiven   = 0.1
	faultFor   = 5 * time.Second
	sweepAt    = 1024
)

func (f *faults) blame(scope string) {
	now := time.Now()
	if *f == nil {
		*f = faults{}
	}
	if len(*f) >= sweepAt {
		for other, fault := range *f {
			if now.After(fault.until) {
				delete(*f, other)
			}
		}
	}
	known := (*f)[scope]
	if known == nil || now.After(known.until) {
		known = &fault{}
		(*f)[scope] = known
	}
	known.score = min(known.score+1, mostFaults)
	known.until = now.Add(faultFor)
}

func (f faults) forgive(scope string) {
	if known := f[scope]; known != nil && !f.apart(scope) {
		if known.score -= forgiven; known.score <= 0 {
			delete(f, scope)
		}
	}
}

func (f faults) apart(scope string) bool {
	known := f[scope]
	return known != nil && known.score >= apartAt && time.Now().Before(known.until)
}
