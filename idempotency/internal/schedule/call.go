package schedule

import (
	"iter"
	"time"
)

// An entry is a call as the queues see it. The scheduler's mutex guards it.
type entry struct {
	id    ID
	lane  *Lane
	size  int
	owner any // the *Call[C, O]
	// group, and turn in its tenant's queue, while the call waits for a worker.
	group *group
	turn  node[entry]
	// place is among those of its scope.
	place node[entry]
	// unseen is in the list of those that wait to be looked up.
	unseen   node[entry]
	since    time.Time
	lookedUp bool
}

// A Call is everything that the scheduler has to do with one identity at a time.
type Call[C, O any] struct {
	entry
	// Leader is the caller that the execution runs for. It does not change while the
	// call runs.
	Leader C
	// Alone says that the call runs alone, whatever its lane.
	Alone bool

	scheduler *Scheduler[C, O]
	// waiters are the callers, in the order they came.
	waiters list[waiter[C, O]]
	runFor  *waiter[C, O]
	state   state
	// turn is the worker's that took the call last.
	turn int
	// retries and polls count how often in a row the call came back.
	retries, polls int
	// asked says that a look-up is under way for the call, and no worker has taken it
	// since.
	asked  bool
	blamed bool
	last   error
	timer  *time.Timer
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

// ID returns the call's identity.
func (c *Call[C, O]) ID() ID { return c.id }

// A waiter is one caller's wait for its call.
type waiter[C, O any] struct {
	node   node[waiter[C, O]]
	caller C
	lane   *Lane
	size   int
	// answer has room for the one answer: nobody waits for a caller that left.
	answer chan answer[O]
}

type answer[O any] struct {
	outcome O
	err     error
}

// Settle gives everyone who waits the outcome.
func (c *Call[C, O]) Settle(outcome O) {
	s := c.scheduler
	s.mu.Lock()
	settles := c.state == running
	if settles {
		if len(s.faults.scopes) > 0 && c.lane != nil && c.lane.Across {
			s.faults.forgive(c.id.Scope)
		}
		s.finish(c)
	}
	s.mu.Unlock()
	if settles {
		c.answer(answer[O]{outcome: outcome})
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
	if c.state != running {
		return
	}
	for w := range c.waiters.all() {
		if concerns(w) {
			w.node.remove()
			s.waiting--
			w.answer <- answer[O]{err: err}
		}
	}
	c.retries, c.polls, c.last = 0, 0, nil
	c.Alone, c.blamed = false, false
	s.enqueue(c)
}

// finish ends the call. Those who still wait are the call's from then on, and answer
// tells them. The caller holds the mutex.
func (s *Scheduler[C, O]) finish(c *Call[C, O]) {
	c.state = done
	delete(s.inflight, c.id)
	s.waiting -= c.waiters.size
	if s.closing {
		s.release()
	}
}

// answer tells everyone who waited for a call that is done. It needs no mutex: nobody
// else may be held up by how many they are.
func (c *Call[C, O]) answer(a answer[O]) {
	for w := range c.waiters.all() {
		w.answer <- a
	}
}

// A list is one of container/list, for values that have their node in themselves:
// nothing is allocated to queue a call.
type list[T any] struct {
	root node[T]
	size int
}

type node[T any] struct {
	value      *T
	list       *list[T]
	prev, next *node[T]
}

// push adds the value as the last one.
func (l *list[T]) push(n *node[T], value *T) {
	if l.root.next == nil {
		l.root.next, l.root.prev = &l.root, &l.root
	}
	*n = node[T]{value, l, l.root.prev, &l.root}
	n.prev.next, n.next.prev = n, n
	l.size++
}

// remove takes the value out of its list, and says whether it was in one.
func (n *node[T]) remove() bool {
	if n.list == nil {
		return false
	}
	n.prev.next, n.next.prev = n.next, n.prev
	n.list.size--
	*n = node[T]{}
	return true
}

// front returns the first value, or nil.
func (l *list[T]) front() *T {
	if l.size == 0 {
		return nil
	}
	return l.root.next.value
}

// back returns the last value, or nil.
func (l *list[T]) back() *T {
	if l.size == 0 {
		return nil
	}
	return l.root.prev.value
}

// all yields the values, of which the one that was yielded may be removed.
func (l *list[T]) all() iter.Seq[*T] {
	return func(yield func(*T) bool) {
		if l.size == 0 {
			return
		}
		for n := l.root.next; n != &l.root; {
			value := n.value
			n = n.next
			if !yield(value) {
				return
			}
		}
	}
}
