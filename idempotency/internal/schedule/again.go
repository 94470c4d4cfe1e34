package schedule

import (
	"errors"
	"time"
)

// How says in which way a call runs again.
type How int

const (
	// Together means: with others, when it has a Batch.
	Together How = iota
	// Singly means: by itself from now on.
	Singly
	// Elsewhere means: somebody else executes it; it is looked up until that is over.
	Elsewhere
	// Found means: its outcome is there, and the look-up has to tell it.
	Found
)

// Retries back off from leastDelay to mostRetry, and polls to mostPoll. Retries of scopes
// that are kept apart begin at 80 ms, after apartDelay doublings more.
const (
	apartDelay = 3
	leastDelay = 5 * time.Millisecond
	mostRetry  = 200 * time.Millisecond
	mostPoll   = 250 * time.Millisecond
)

// errUndecided is why a call runs again when Execute said nothing of it.
var errUndecided = errors.New("the execution did not say what became of the call")

// Again puts the call back, at once the first time and later with a pause that grows.
// err is what its callers hear if their waits end first.
func (c *Call[C, O]) Again(how How, err error) {
	s := c.scheduler
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.state == running {
		s.again(c, how, err)
	}
}

// again puts the call back. The caller holds the mutex.
func (s *Scheduler[C, O]) again(c *Call[C, O], how How, err error) {
	c.last = err
	if c.callers.size == 0 {
		s.finish(c)
		return
	}
	switch how {
	case Found:
		s.poll(c)
	case Elsewhere:
		c.last = nil
		s.pollLater(c)
	case Together, Singly:
		c.Single = c.Single || how == Singly
		switch c.retries++; {
		case s.gate.shut: // The gate sets the pace.
			s.enqueue(c)
		case err != nil && s.faults.apart(c.id.Scope): // Its tries take workers from others.
			s.delay(c, s.backoff(c.retries+apartDelay, mostRetry), s.enqueue)
		case c.retries == 1:
			s.enqueue(c)
		default:
			s.delay(c, s.backoff(c.retries-2, mostRetry), s.enqueue)
		}
	}
}

// delay lets the call wait, outside of the queue. The caller holds the mutex.
func (s *Scheduler[C, O]) delay(c *Call[C, O], pause time.Duration, then func(*Call[C, O])) {
	c.state = delayed
	time.AfterFunc(pause, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if c.state == delayed { // Else nobody waits for it any more.
			then(c)
		}
	})
}

// poll gives the call to the look-up. The caller holds the mutex.
func (s *Scheduler[C, O]) poll(c *Call[C, O]) {
	c.state = polled
	s.lookups.polls.push(&c.unseen, &c.entry)
	s.lookUpNow()
}

// pollLater gives the call to the look-up after a pause that grows. The caller holds
// the mutex.
func (s *Scheduler[C, O]) pollLater(c *Call[C, O]) {
	s.delay(c, s.backoff(c.polls, mostPoll), s.poll)
	c.polls++
}

// backoff is the pause before a retry: it doubles up to most, with jitter.
func (s *Scheduler[C, O]) backoff(n int, most time.Duration) time.Duration {
	return s.config.Jitter(min(most, leastDelay<<min(n, 16)))
}
