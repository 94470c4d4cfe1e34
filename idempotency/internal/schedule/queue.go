package schedule

import "time"

// A pool has the calls that wait for one kind of worker, in queues that are served round
// robin.
//
// A scope never has all workers, however much it asks for: at most three of four run
// its single calls, and all but one the batches of its own. While others wait, each has
// at most an equal share of what those leave who don't, and scopes that are kept apart
// have half of the workers together, half of the time. The reserve is a worker for
// those who have nothing running, because nothing interrupts an effect.
//
// A batch across scopes takes their calls round robin. While others are there, it passes
// over a scope that is in all but one already: its slow effects don't hold up every
// batch. The reserve's batch has only scopes that have nothing running.
type pool struct {
	workers       int
	maxBatchDelay time.Duration
	queues        map[queueKey]*workerQueue
	// roundRobin has the queues with calls, and aside those of scopes that are kept apart.
	roundRobin, aside list[workerQueue]
	asideLast         bool
	// loads has what each scope has, and across what all have together.
	loads  map[string]*load
	across load
	// shared is the sum over all scopes, and counted numbers the calls of countBatch.
	shared, counted int
	// contenders counts the loads that wait, and others the workers that run those
	// that don't.
	contenders, others int
	// apart counts the batches under way of scopes that are kept apart.
	apart int
	// rest is until when those scopes leave the workers to others: as long as their last
	// batch took.
	rest time.Time
	// free are the workers that have nothing to run, and spare the reserve then.
	free, spare list[worker]
	// changed looks again for calls that free workers may run; it takes the mutex.
	changed func()
	// queued counts the calls that wait, and queuedApart those of scopes that are kept
	// apart.
	queued, queuedApart int
	// busy counts the workers that run something.
	busy int
	// taken counts what the workers took so far.
	taken Taken
}

// A load is what a scope has. Its tenants are its queues for batches across scopes.
type load struct {
	counts
	tenants list[tenantQueue]
	counted int
}

// counts are what waits and runs of the scope's own; the batches across scopes that it
// is in; and what the reserve runs of either kind.
type counts struct{ waiting, running, shared, spare int }

func (p *pool) init(workers int, maxBatchDelay time.Duration, changed func()) {
	p.workers, p.maxBatchDelay, p.changed = workers, maxBatchDelay, changed
	p.queues, p.loads = map[queueKey]*workerQueue{}, map[string]*load{}
}

// release notes that the worker is free.
func (p *pool) release(w *worker) {
	if w.reserve {
		p.spare.push(&w.node, w)
	} else {
		p.free.push(&w.node, w)
	}
}

func (p *pool) push(key queueKey, e *entry) {
	q := p.queues[key]
	if q == nil {
		q = &workerQueue{queueKey: key, tenants: map[string]*tenantQueue{}, load: p.load(key)}
		p.queues[key] = q
	}
	if q.size == 0 {
		p.enqueue(q)
	}
	t := q.tenants[e.id.Scope]
	if t == nil {
		t = &tenantQueue{scope: e.id.Scope, queue: q}
		q.tenants[t.scope] = t
		p.join(t)
	}
	t.calls.push(&e.node, e)
	e.queue = q
	q.size++
	p.countQueued(q, 1)
}

// countQueued notes that so many more calls wait in the queue.
func (p *pool) countQueued(q *workerQueue, n int) {
	p.count(q.load, counts{waiting: n})
	if q.apart {
		p.queuedApart += n
	} else {
		p.queued += n
	}
}

// join puts the tenant last in the round robin.
func (p *pool) join(t *tenantQueue) {
	if !t.queue.across {
		t.queue.roundRobin.push(&t.node, t)
		return
	}
	l := p.load(queueKey{scope: t.scope})
	l.tenants.push(&t.inLoad, t)
	p.place(t, l)
}

// place puts a tenant of a queue across scopes where it belongs by what its scope runs.
func (p *pool) place(t *tenantQueue, l *load) {
	q := t.queue
	into := &q.roundRobin
	if p.workers > 1 && l.shared >= p.workers-1 {
		into = &q.held
	}
	if t.node.list != into {
		t.node.remove()
		into.push(&t.node, t)
	}
	if l.running+l.shared+l.spare > 0 {
		t.fresh.remove()
	} else if t.fresh.list == nil {
		q.fresh.push(&t.fresh, t)
	}
}

// tenants returns those of the queue whose calls a worker may run.
func (p *pool) tenants(q *workerQueue, reserve bool) *list[tenantQueue] {
	switch {
	case !q.across:
		return &q.roundRobin
	case reserve:
		return &q.fresh
	case len(q.tenants) == 1 && q.held.size == 1 &&
		p.across.spare == 0 && p.shared == p.loads[q.held.front().scope].shared:
		return &q.held // No other scope is there.
	}
	return &q.roundRobin
}

// enqueue puts the queue last in the round robin.
func (p *pool) enqueue(q *workerQueue) {
	into := &p.roundRobin
	if q.apart {
		into = &p.aside
	}
	into.push(&q.node, q)
}

func (p *pool) load(key queueKey) *load {
	if key.across {
		return &p.across
	}
	l := p.loads[key.scope]
	if l == nil {
		l = &load{}
		p.loads[key.scope] = l
	}
	return l
}

// count adds to what a scope has, or takes from it.
func (p *pool) count(l *load, more counts) {
	p.contend(l, -1)
	l.waiting += more.waiting
	l.running += more.running
	l.shared += more.shared
	l.spare += more.spare
	p.contend(l, 1)
	for t := range l.tenants.all() {
		p.place(t, l)
	}
}

// countBatch notes that the worker's batch begins, or that it ends when sign is -1.
func (p *pool) countBatch(w *worker, sign int) {
	own, shared := counts{running: sign}, counts{shared: sign}
	if w.reserve {
		own, shared = counts{spare: sign}, counts{spare: sign}
	}
	p.count(w.queue.load, own)
	if !w.queue.across {
		return
	}
	p.counted++
	for _, e := range w.entries {
		l := p.load(queueKey{scope: e.id.Scope})
		if l.counted != p.counted { // Once for all calls of the scope.
			l.counted = p.counted
			p.shared += shared.shared
			p.count(l, shared)
		}
	}
	for _, e := range w.entries { // Not before: a load that is made anew would be counted again.
		p.forgetLoad(e.id.Scope)
	}
}

// contend counts a load among the contenders or the others, or no more when sign is -1.
func (p *pool) contend(l *load, sign int) {
	if l.waiting > 0 {
		p.contenders += sign
	} else {
		p.others += sign * l.running
	}
}

// drop takes the call out of its queue.
func (p *pool) drop(e *entry) {
	q := e.queue
	q.drop(e)
	p.countQueued(q, -1)
	p.forgetLoad(e.id.Scope)
	if q.size == 0 {
		q.node.remove()
		p.forget(q)
	}
}

// forget removes a queue that has nothing left.
func (p *pool) forget(q *workerQueue) {
	if q.size > 0 {
		return
	}
	q.closeWindow()
	if q.running == 0 {
		delete(p.queues, q.queueKey)
		if !q.across {
			p.forgetLoad(q.scope)
		}
	}
}

// forgetLoad removes the load of a scope that has nothing left.
func (p *pool) forgetLoad(scope string) {
	if l := p.loads[scope]; l != nil && l.counts == (counts{}) && l.tenants.size == 0 {
		delete(p.loads, scope)
	}
}

// hand gives a free worker the calls that it should run now, if there are any, and
// returns it.
func (p *pool) hand() *worker {
	w := p.free.front()
	var q *workerQueue
	if w != nil {
		q = p.next(false)
	}
	if q == nil {
		if w = p.spare.front(); w == nil {
			return nil
		}
		if q = p.next(true); q == nil {
			return nil
		}
	}
	w.node.remove()
	q.node.remove()
	q.closeWindow()
	w.queue, w.entries, w.begun = q, q.take(p.tenants(q, w.reserve)), time.Now()
	p.begin(w)
	if q.size > 0 {
		p.enqueue(q)
	}
	return w
}

// begin says that the worker runs its calls.
func (p *pool) begin(w *worker) {
	q, n := w.queue, len(w.entries)
	q.running += n
	p.busy++
	p.asideLast = q.apart
	if q.apart {
		p.apart++
	}
	p.countQueued(q, -n)
	p.countBatch(w, 1)
	for _, e := range w.entries {
		p.taken.countWait(w.begun.Sub(e.since))
	}
	p.taken.count(n)
}

// done says that the worker has run them.
func (p *pool) done(w *worker) {
	q := w.queue
	q.running -= len(w.entries)
	p.busy--
	if q.apart {
		p.apart--
		p.restFor(time.Since(w.begun))
	}
	p.countBatch(w, -1)
	p.forget(q)
	w.queue, w.entries = nil, nil
}

// next returns the queue of which a worker should run calls now, or nil. Queues of
// scopes that are kept apart alternate with all others. Those that can't run are at
// most one for each worker, so that the loop is short.
func (p *pool) next(reserve bool) *workerQueue {
	first, second := &p.aside, &p.roundRobin
	if p.asideLast {
		first, second = second, first
	}
	for _, queues := range [...]*list[workerQueue]{first, second} {
		if queues == &p.aside && queues.size > 0 && !p.asideAllowed(reserve) {
			continue
		}
		for q := range queues.all() {
			switch {
			case p.tenants(q, reserve).size == 0: // Their scopes have enough.
			case !p.ready(q):
				p.openWindow(q)
			case p.allowed(q, reserve):
				return q
			}
		}
	}
	return nil
}

// ready says whether a batch of the queue should begin. Batches side by side are worth
// it when each has about as many calls: one more commit costs more than a short wait
// for one that is under way.
func (p *pool) ready(q *workerQueue) bool {
	return p.maxBatchDelay == 0 || q.size >= q.running || q.size >= q.batch.Max ||
		q.timer != nil && !time.Now().Before(q.closes)
}

// allowed says whether a worker may run the queue's calls.
func (p *pool) allowed(q *workerQueue, reserve bool) bool {
	switch {
	case q.across:
		return true
	case reserve:
		return q.load.running+q.load.shared+q.load.spare == 0
	}
	share := p.workers - 1
	if q.batch == nil {
		share = p.workers * 3 / 4
	}
	equal := (p.workers - p.others + p.contenders - 1) / p.contenders
	return q.load.running < max(1, min(share, equal))
}
