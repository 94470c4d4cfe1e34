package schedule

import (
	"container/list"
	"time"
)

// A Call is everything that the scheduler has to do with one identity at a time.
type Call[C, O any] struct {
	entry
	// Leader is the caller that the execution runs for. It does not change while the
	// call runs.
	Leader C
	// Alone says that the call runs alone, whatever its lane.
	Alone bool

	scheduler *Scheduler[C, O]
	waiters   list.List // of *waiter[C, O], in the order they came
	runFor    *waiter[C, O]
	state     state
	// retries and polls count how often in a row the call came back.
	retries, polls int
	// taken counts how often a worker took the call, and lookedUpAt says how often it
	// had when it was last looked up.
	taken, lookedUpAt int
	blamed            bool
	last              error
	timer             *time.Timer
}

// A state says where a call is.
type state int

const (
	// queued: it waits for a worker.
	queued state = iota
	// running: a worker has it.
	running
	// delayed: a timer will queue it, or look it up.
	delayed
	// polled: the look-up has it, to tell whether it is done elsewhere.
	polled
	// done: it has its answer.
	done
)

// How says in which way a call runs again.
type How int

const (
	// Together: with others, when its lane allows.
	Together How = iota
	// Singly: alone in its transaction from now on.
	Singly
	// Elsewhere: somebody else executes it; it is looked up until that is over.
	Elsewhere
	// Found: its outcome is there, and the look-up has to tell it.
	Found
)

// Retries back off from the first to the second, and so do polls to the third. Those of
// scopes that are kept apart begin at 80 ms: apartDelay is how often it doubled by then.
const (
	apartDelay = 3
	leastDelay = 5 * time.Millisecond
	mostRetry  = 200 * time.Millisecond
	mostPoll   = 250 * time.Millisecond
)

// ID returns the call's identity.
func (c *Call[C, O]) ID() ID { return c.id }

// Polled says whether the look-up should find out if the call is still executed
// elsewhere.
func (c *Call[C, O]) Polled() bool {
	c.scheduler.mu.Lock()
	defer c.scheduler.mu.Unlock()
	return c.state == polled
}

// Settle gives everyone who waits the outcome.
func (c *Call[C, O]) Settle(outcome O) {
	s := c.scheduler
	s.mu.Lock()
	defer s.mu.Unlock()
	c.settle(outcome)
}

func (c *Call[C, O]) settle(outcome O) {
	if c.state == done {
		return
	}
	s := c.scheduler
	if c.lane != nil && c.lane.Across {
		s.faults.forgive(c.id.Scope)
	}
	s.unqueue(c)
	s.finish(c, answer[O]{outcome: outcome})
}

// Found is Settle for the look-up. It does nothing for a call that a worker has taken
// since the look-up began: what was found then may be gone, and the worker knows better.
func (c *Call[C, O]) Found(outcome O) {
	s := c.scheduler
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.taken == c.lookedUpAt && (c.state == queued || c.state == polled) {
		c.settle(outcome)
	}
}

// Refuse gives the leader, and those followers who ask for the same, the error. The
// next one leads.
func (c *Call[C, O]) Refuse(err error) {
	c.end(err, func(w *waiter[C, O]) bool {
		return w == c.runFor || c.scheduler.hooks.Same(c.Leader, w.caller)
	})
}

// Fail gives the leader the error. The next one leads.
func (c *Call[C, O]) Fail(err error) {
	c.end(err, func(w *waiter[C, O]) bool { return w == c.runFor })
}

func (c *Call[C, O]) end(err error, concerns func(*waiter[C, O]) bool) {
	s := c.scheduler
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.state == done {
		return
	}
	for element := c.waiters.Front(); element != nil; {
		w := c.waiter(element)
		element = element.Next()
		if concerns(w) {
			c.answer(w, answer[O]{err: err})
		}
	}
	c.retries, c.polls, c.last = 0, 0, nil
	c.Alone, c.blamed = false, false
	s.enqueue(c)
}

// Again puts the call back, at once the first time and later with a pause that grows.
// err is what its callers hear if their waits end first.
func (c *Call[C, O]) Again(how How, err error) {
	s := c.scheduler
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.state == done {
		return
	}
	c.last = err
	if c.waiters.Len() == 0 {
		s.finish(c, answer[O]{})
		return
	}
	switch how {
	case Found:
		s.poll(c)
	case Elsewhere:
		c.last = nil
		s.delay(c, s.backoff(c.polls, mostPoll), s.poll)
		c.polls++
	case Together, Singly:
		c.Alone = c.Alone || how == Singly
		apart := s.faults.apart(c.id.Scope)
		switch c.retries++; {
		case s.away.Load(): // The gate sets the pace.
			s.enqueue(c)
		case apart && err != nil: // Its tries are no good to others.
			s.delay(c, s.backoff(c.retries+apartDelay, mostRetry), s.enqueue)
		case c.retries == 1:
			s.enqueue(c)
		default:
			s.delay(c, s.backoff(c.retries-2, mostRetry), s.enqueue)
		}
	}
}

// Missed says that the look-up found no outcome; free, that nobody executes the call
// elsewhere any more.
func (c *Call[C, O]) Missed(free bool) {
	s := c.scheduler
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case c.state == queued:
		s.wake(s.poolOf(c))
	case c.state != polled:
	case free:
		c.lookedUp = true
		s.enqueue(c)
	default:
		s.delay(c, s.backoff(c.polls, mostPoll), s.poll)
		c.polls++
	}
}

// Blame says that the call did what harms a batch, once for each call. A scope to which
// that happens again and again gets batches of its own.
func (c *Call[C, O]) Blame() {
	s := c.scheduler
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.lane != nil && c.lane.Across && !c.blamed {
		c.blamed = true
		s.faults.blame(c.id.Scope)
	}
}

// delay lets the call wait, outside of the queue. The caller holds the mutex.
func (s *Scheduler[C, O]) delay(c *Call[C, O], pause time.Duration, then func(*Call[C, O])) {
	c.state = delayed
	var timer *time.Timer
	timer = time.AfterFunc(pause, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if c.state == delayed && c.timer == timer {
			c.timer = nil
			then(c)
		}
	})
	c.timer = timer
}

// poll gives the call to the look-up. The caller holds the mutex.
func (s *Scheduler[C, O]) poll(c *Call[C, O]) {
	c.state = polled
	s.lookups.poll(&c.entry)
}

// backoff is the pause before a retry: it doubles up to most, with jitter.
func (s *Scheduler[C, O]) backoff(n int, most time.Duration) time.Duration {
	return s.config.Jitter(min(most, leastDelay<<min(n, 16)))
}

func (c *Call[C, O]) first() *waiter[C, O] { return c.waiter(c.waiters.Front()) }

func (c *Call[C, O]) waiter(element *list.Element) *waiter[C, O] {
	return element.Value.(*waiter[C, O]) //nolint:errcheck // join put it there.
}

// answer ends the wait of a caller.
func (c *Call[C, O]) answer(w *waiter[C, O], a answer[O]) {
	c.remove(w)
	w.answer <- a
}

func (c *Call[C, O]) remove(w *waiter[C, O]) {
	c.waiters.Remove(w.element)
	w.element = nil
}
