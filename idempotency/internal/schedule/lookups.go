package schedule

import (
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
	// unseen are queued calls that were not looked up yet, oldest first. polls are
	// calls that are due to be looked up now.
	unseen, polls list[entry]
	// least is how long a call waits for a worker before it is looked up.
	least time.Duration
	// adapted says that most of those that were looked up last were found: then none
	// waits. comesFirst says that single calls are looked up before they go to a
	// worker.
	adapted, comesFirst bool
	// found counts the queued calls whose outcome the look-up under way found.
	found int
	work  sync.Cond
	idle  bool
	timer *time.Timer
}

func (l *lookups) init(mu *sync.Mutex, after time.Duration) {
	l.least, l.work.L = after, mu
}

// after is how long a call waits before it is looked up now.
func (l *lookups) after() time.Duration {
	if l.adapted {
		return 0
	}
	return l.least
}

// expect sees to it that the calls which wait are looked up in time.
func (l *lookups) expect() {
	switch wait := l.after() - time.Since(l.unseen.front().since); {
	case wait <= 0:
		l.wake()
	case l.timer == nil:
		l.wakeIn(wait)
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

func (l *lookups) stop() {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
}

// take returns the calls that should be looked up now, and how many of them wait for a
// worker.
func (l *lookups) take() (due []*entry, waited int) {
	for e := range l.polls.all() {
		if len(due) == maxLookUp {
			return due, 0
		}
		e.unseen.remove()
		due = append(due, e)
	}
	for e := range l.unseen.all() {
		if len(due) == maxLookUp {
			break
		}
		if wait := l.after() - time.Since(e.since); wait > 0 {
			if l.timer == nil {
				l.wakeIn(wait)
			}
			break
		}
		e.unseen.remove()
		e.lookedUp = true
		due = append(due, e)
		waited++
	}
	return due, waited
}

// serveLookUps is the worker that looks calls up.
func (s *Scheduler[C, O]) serveLookUps(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		calls, waited := s.nextLookUp()
		switch {
		case calls != nil:
			s.lookUp(ctx, calls, waited)
		case s.closing && len(s.inflight) == 0:
			return
		default:
			s.lookups.idle = true
			s.lookups.work.Wait()
			s.lookups.idle = false
		}
	}
}

// nextLookUp takes the calls that should be looked up now, and how many of them wait
// for a worker. The caller holds the mutex.
func (s *Scheduler[C, O]) nextLookUp() (calls []*Call[C, O], waited int) {
	if !s.passable() {
		return nil, 0
	}
	entries, waited := s.lookups.take()
	for _, e := range entries {
		c := s.call(e)
		c.asked = true
		calls = append(calls, c)
	}
	return calls, waited
}

// lookUp hands the calls to the hook, learns from what that finds, and sees to those
// that it said nothing of. The caller holds the mutex, which is released meanwhile.
func (s *Scheduler[C, O]) lookUp(ctx context.Context, calls []*Call[C, O], waited int) {
	l, try := &s.lookups, 0
	if s.gate.shut {
		try = s.try()
	}
	l.found = 0
	// Who comes first must not be what the others wait for.
	slow := time.AfterFunc(l.least, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		l.comesFirst = false
		s.wake(&s.singles)
	})
	s.mu.Unlock()
	s.hooks.LookUp(ctx, calls)
	s.mu.Lock()
	slow.Stop()
	if waited > 0 {
		l.adapted = 2*l.found >= waited
	}
	l.comesFirst = l.adapted
	for _, c := range calls {
		s.missed(c, false)
	}
	s.wake(&s.singles)
	if try > 0 {
		s.tried(try)
	}
}

// Polled says whether the look-up should find out if the call is still executed
// elsewhere.
func (c *Call[C, O]) Polled() bool {
	c.scheduler.mu.Lock()
	defer c.scheduler.mu.Unlock()
	return c.state == polled
}

// Found is Settle for the look-up. It does nothing for a call that a worker has taken
// since the look-up began: what was found then may be gone, and the worker knows better.
func (c *Call[C, O]) Found(outcome O) {
	s := c.scheduler
	s.mu.Lock()
	defer s.mu.Unlock()
	if !c.asked || c.state == done {
		return
	}
	if c.state == queued {
		s.lookups.found++
	}
	s.unqueue(c)
	s.finish(c, answer[O]{outcome: outcome})
}

// Missed says that the look-up found no outcome; free, that nobody executes the call
// elsewhere any more.
func (c *Call[C, O]) Missed(free bool) {
	s := c.scheduler
	s.mu.Lock()
	defer s.mu.Unlock()
	s.missed(c, free)
}

func (s *Scheduler[C, O]) missed(c *Call[C, O], free bool) {
	if !c.asked {
		return
	}
	c.asked = false
	switch {
	case c.state == queued:
		s.wake(s.poolOf(c.group))
	case c.state != polled: // Its callers have left.
	case free:
		c.polls, c.lookedUp = 0, true
		s.enqueue(c)
	default:
		s.pollLater(c)
	}
}
