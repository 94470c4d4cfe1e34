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

// places bounds how many calls wait for a worker. When all are taken, a scope that has
// fewer of them than the fullest one gets that one's last. Of two scopes that are as
// full, the one that has been so for longer is the fuller.
type places struct {
	limit, used int
	scopes      map[string]*place
	// levels has the scopes by how many places they have; most is the last that has any.
	levels []*list[place]
	most   int
}

type place struct {
	scope string
	// calls are in the order they came.
	calls list[entry]
	level node[place]
}

func (p *places) init(limit int) { p.limit, p.scopes = limit, map[string]*place{} }

// full says whether all places are taken.
func (p *places) full() bool { return p.used >= p.limit }

func (p *places) take(e *entry) {
	at := p.scopes[e.id.Scope]
	if at == nil {
		at = &place{scope: e.id.Scope}
		p.scopes[at.scope] = at
	}
	at.calls.push(&e.place, e)
	p.used++
	p.move(at)
}

func (p *places) leave(e *entry) {
	e.place.remove()
	p.used--
	p.move(p.scopes[e.id.Scope])
}

// move puts the scope where it belongs after its calls are one more or less.
func (p *places) move(at *place) {
	at.level.remove()
	n := at.calls.size
	if n == 0 {
		delete(p.scopes, at.scope)
	} else {
		for len(p.levels) <= n {
			p.levels = append(p.levels, &list[place]{})
		}
		p.levels[n].push(&at.level, at)
	}
	for p.most = max(p.most, n); p.most > 0 && p.levels[p.most].size == 0; {
		p.most--
	}
}

// A groupKey names the calls that may share a batch: those of a lane, of one scope or
// across scopes; without a lane, each runs by itself.
type groupKey struct {
	lane   *Lane
	scope  string
	across bool
	// apart says that the scope harmed batches lately and has its own.
	apart bool
}

// A group has calls that wait, a queue for each tenant. Tenants take turns.
type group struct {
	groupKey
	load    *load
	turn    node[group]
	tenants map[string]*tenant
	// turns has the tenants that may be in the next batch. Of a group across scopes, held
	// has those that are in enough batches already, and fresh those that are in none.
	turns, held, fresh list[tenant]
	size               int
	// running counts the calls of the group that workers have.
	running int
	// closes is when the group has waited long enough for more calls, as timer tells.
	closes time.Time
	timer  *time.Timer
}

type tenant struct {
	scope string
	group *group
	calls list[entry]
	// turn is in turns or held, fresh in fresh, and queue in the queues of its load.
	turn, fresh, queue node[tenant]
}

// yield lets the other tenants come first.
func (t *tenant) yield() {
	for _, n := range [...]*node[tenant]{&t.turn, &t.fresh} {
		if l := n.list; n.remove() {
			l.push(n, t)
		}
	}
}

func (g *group) drop(e *entry) {
	e.turn.remove()
	e.group = nil
	g.size--
	if t := g.tenants[e.id.Scope]; t.calls.size == 0 {
		t.turn.remove()
		t.fresh.remove()
		t.queue.remove()
		delete(g.tenants, t.scope)
	}
}

// take removes the calls of the next batch. Each of the tenants gives one in its turn.
func (g *group) take(tenants *list[tenant]) []*entry {
	most, bytes := 1, 0
	if g.lane != nil {
		most, bytes = g.lane.Max, g.lane.Bytes
	}
	taken := make([]*entry, 0, min(most, g.size))
	for len(taken) < cap(taken) && tenants.size > 0 {
		t := tenants.front()
		e := t.calls.front()
		if bytes -= e.size; bytes < 0 && len(taken) > 0 {
			break
		}
		g.drop(e)
		t.yield()
		taken = append(taken, e)
	}
	return taken
}

// closeWindow ends the wait for more calls.
func (g *group) closeWindow() {
	if g.timer != nil {
		g.timer.Stop()
		g.timer = nil
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
