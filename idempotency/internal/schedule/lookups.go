package schedule

import (
	"context"
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
	timer *time.Timer
	// handed gives the look-up its calls, idle says that it has none.
	handed chan lookUp
	idle   bool
}

// A lookUp has calls that are looked up together, of which so many wait for a worker;
// try is that of the gate, if any.
type lookUp struct {
	entries     []*entry
	waited, try int
}

func (l *lookups) init(after time.Duration) {
	l.least, l.handed, l.idle = after, make(chan lookUp, 1), true
}

// after is how long a call waits before it is looked up now.
func (l *lookups) after() time.Duration {
	if l.adapted {
		return 0
	}
	return l.least
}

// take returns the calls that should be looked up now, how many of them wait for a
// worker, and how long until the next one should.
func (l *lookups) take() (due lookUp, next time.Duration) {
	for e := range l.polls.all() {
		if len(due.entries) == maxLookUp {
			return due, 0
		}
		e.unseen.remove()
		due.entries = append(due.entries, e)
	}
	for e := range l.unseen.all() {
		if next = l.after() - time.Since(e.since); next > 0 || len(due.entries) == maxLookUp {
			return due, next
		}
		e.unseen.remove()
		e.lookedUp = true
		due.entries = append(due.entries, e)
		due.waited++
	}
	return due, 0
}

// expectLookUp has a call that waits looked up in time. The caller holds
// the mutex.
func (s *Scheduler[C, O]) expectLookUp(c *Call[C, O]) {
	s.lookups.unseen.push(&c.unseen, &c.entry)
	s.lookUpNow()
}

// lookUpNow hands the look-up what is due, if it is idle, and sets the timer for what is
// due next.
// The caller holds the mutex.
func (s *Scheduler[C, O]) lookUpNow() {
	l := &s.lookups
	if !l.idle || !s.passable() {
		return // The end of what goes on comes back to this.
	}
	due, next := l.take()
	if due.entries == nil {
		if next > 0 && l.timer == nil {
			l.timer = time.AfterFunc(next, func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				l.timer = nil
				s.lookUpNow()
			})
		}
		return
	}
	if s.gate.shut {
		due.try = s.try()
	}
	for _, e := range due.entries {
		s.call(e).asked = true
	}
	l.idle, l.found = false, 0
	l.handed <- due
}

// serveLookUps is the worker that looks calls up.
func (s *Scheduler[C, O]) serveLookUps(ctx context.Context) {
	for due := range s.lookups.handed {
		calls := make([]*Call[C, O], len(due.entries))
		for i, e := range due.entries {
			calls[i] = s.call(e)
		}
		// A look-up that is slow must not keep calls from the workers.
		slow := time.AfterFunc(s.lookups.least, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.lookups.comesFirst = false
			s.wake(&s.singles)
		})
		s.hooks.LookUp(ctx, calls)
		slow.Stop()
		s.lookedUp(due, calls)
	}
}

// lookedUp adapts to how much the hook found. Calls that it said nothing of are missed.
func (s *Scheduler[C, O]) lookedUp(due lookUp, calls []*Call[C, O]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &s.lookups
	if due.waited > 0 {
		l.adapted = 2*l.found >= due.waited
	}
	l.comesFirst = l.adapted
	if due.try > 0 {
		s.tried(due.try)
	}
	for _, c := range calls {
		s.missed(c, false)
	}
	l.idle = true
	if s.closing {
		s.release()
	}
	s.wakeAll()
}

// Polled says whether the look-up should find out if the call is still executed
// elsewhere.
func (c *Call[C, O]) Polled() bool {
	c.scheduler.mu.Lock()
	defer c.scheduler.mu.Unlock()
	return c.state == polled
}

// Found is Resolve for the look-up. It does nothing for a call that a worker has taken
// since the look-up began: what was found then may be gone, and the worker knows better.
func (c *Call[C, O]) Found(outcome O) {
	s := c.scheduler
	s.mu.Lock()
	resolves := c.asked && c.state != done
	if resolves {
		if c.state == queued {
			s.lookups.found++
		}
		s.unqueue(c)
		s.finish(c)
	}
	s.mu.Unlock()
	if resolves {
		c.answer(answer[O]{outcome: outcome})
	}
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
		s.wake(s.poolOf(c.queue))
	case c.state != polled: // Its callers have left.
	case free:
		c.polls, c.lookedUp = 0, true
		s.enqueue(c)
	default:
		s.pollLater(c)
	}
}
