package schedule

import (
	"iter"
	"time"
)

// An entry is a call as the queues see it. The scheduler's mutex guards it.
type entry struct {
	id    ID
	batch *Batch
	size  int
	call  any // the *Call[C, O]
	// queue, and node in its tenant queue, while the call waits for a worker.
	queue *workerQueue
	node  node[entry]
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
	// Single says that the call runs singly, whatever its batch.
	Single bool

	scheduler *Scheduler[C, O]
	// callers wait for it, in the order they came: the leader and its followers.
	callers list[caller[C, O]]
	runFor  *caller[C, O]
	state   state
	// run is that of the worker that took the call last.
	run int
	// retries and polls count how often in a row the call came back.
	retries, polls int
	// asked says that a look-up is under way for the call, and no worker has taken it
	// since.
	asked  bool
	blamed bool
	last   error
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

// Run numbers what workers run, for those calls that one has: those that it took together
// have the same number.
func (c *Call[C, O]) Run() int { return c.run }

// A caller is one that waits for its call.
type caller[C, O any] struct {
	node  node[caller[C, O]]
	value C
	batch *Batch
	size  int
	// answer has room for the one answer: nobody waits for a caller that left.
	answer chan answer[O]
}

type answer[O any] struct {
	outcome O
	err     error
}

// Resolve gives everyone who waits the outcome.
func (c *Call[C, O]) Resolve(outcome O) {
	s := c.scheduler
	s.mu.Lock()
	resolves := c.state == running
	if resolves {
		if len(s.faults.scopes) > 0 && c.batch != nil && c.batch.Across {
			s.faults.forgive(c.id.Scope)
		}
		s.finish(c)
	}
	s.mu.Unlock()
	if resolves {
		c.answer(answer[O]{outcome: outcome})
	}
}

// Refuse gives the leader, and those followers who ask for the same, the error. The
// next one leads.
func (c *Call[C, O]) Refuse(err error) {
	c.end(err, func(w *caller[C, O]) bool {
		return w == c.runFor || c.scheduler.hooks.Same(c.Leader, w.value)
	})
}

// Fail gives the leader the error. The next one leads.
func (c *Call[C, O]) Fail(err error) {
	c.end(err, func(w *caller[C, O]) bool { return w == c.runFor })
}

func (c *Call[C, O]) end(err error, concerns func(*caller[C, O]) bool) {
	s := c.scheduler
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.state != running {
		return
	}
	for w := range c.callers.all() {
		if concerns(w) {
			w.node.remove()
			s.waiting--
			w.answer <- answer[O]{err: err}
		}
	}
	c.retries, c.polls, c.last = 0, 0, nil
	c.Single, c.blamed = false, false
	s.enqueue(c)
}

// finish ends the call. Those who still wait stay its callers, and answer tells them. The
// caller holds the mutex.
func (s *Scheduler[C, O]) finish(c *Call[C, O]) {
	c.state = done
	delete(s.inflight, c.id)
	s.waiting -= c.callers.size
	if s.closing {
		s.release()
	}
}

// answer tells everyone who waited for a call that is done. It needs no mutex, so that
// many callers of one call do not hold up others.
func (c *Call[C, O]) answer(a answer[O]) {
	for w := range c.callers.all() {
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

// A queueKey names the calls that may run together: those with the same Batch, of one
// scope or across scopes; without a Batch, each runs singly.
type queueKey struct {
	batch  *Batch
	scope  string
	across bool
	// apart says that the scope harmed batches lately and has its own.
	apart bool
}

// A workerQueue has calls that wait for a worker, a queue for each tenant. The tenant
// queues are served round robin.
type workerQueue struct {
	queueKey
	load    *load
	node    node[workerQueue]
	tenants map[string]*tenantQueue
	// roundRobin has the tenants that may be in the next batch. Of a queue across scopes,
	// held has those that are in enough batches already, and fresh those that are in none.
	roundRobin, held, fresh list[tenantQueue]
	size                    int
	// running counts the calls of the queue that workers have.
	running int
	// closes is when the queue has waited long enough for more calls, as timer tells.
	closes time.Time
	timer  *time.Timer
}

type tenantQueue struct {
	scope string
	queue *workerQueue
	calls list[entry]
	// node is in roundRobin or held, fresh in fresh, and inLoad in its load.
	node, fresh, inLoad node[tenantQueue]
}

// yield puts the tenant last.
func (t *tenantQueue) yield() {
	for _, n := range [...]*node[tenantQueue]{&t.node, &t.fresh} {
		if l := n.list; n.remove() {
			l.push(n, t)
		}
	}
}

func (q *workerQueue) drop(e *entry) {
	e.node.remove()
	e.queue = nil
	q.size--
	if t := q.tenants[e.id.Scope]; t.calls.size == 0 {
		t.node.remove()
		t.fresh.remove()
		t.inLoad.remove()
		delete(q.tenants, t.scope)
	}
}

// take removes the calls of the next batch, one of each tenant, round robin.
func (q *workerQueue) take(tenants *list[tenantQueue]) []*entry {
	most, bytes := 1, 0
	if q.batch != nil {
		most, bytes = q.batch.Max, q.batch.Bytes
	}
	taken := make([]*entry, 0, min(most, q.size))
	for len(taken) < cap(taken) && tenants.size > 0 {
		t := tenants.front()
		e := t.calls.front()
		if bytes -= e.size; bytes < 0 && len(taken) > 0 {
			break
		}
		q.drop(e)
		t.yield()
		taken = append(taken, e)
	}
	return taken
}

// closeWindow ends the wait for more calls.
func (q *workerQueue) closeWindow() {
	if q.timer != nil {
		q.timer.Stop()
		q.timer = nil
	}
}

// A list is like that of container/list, but its values hold their nodes: nothing is
// allocated to queue a call.
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
