package schedule

import (
	"math/bits"
	"time"
)

// A pool has the calls that wait for one kind of worker. Groups take turns.
//
// A scope never has all workers, however much it asks for: at most three of four run
// its single calls, and all but one the batches of its own. While others wait, each has
// at most an equal share of what those leave who don't, and scopes that are kept apart
// have half of the workers together, half of the time. The reserve is a worker for
// those who have nothing running, because nothing interrupts an effect.
//
// In a batch across scopes they take turns. While others are there, it passes over a
// scope that is in all but one already: its slow effects don't hold up every batch. The
// reserve's batch has only scopes that have nothing running.
type pool struct {
	workers       int
	maxBatchDelay time.Duration
	groups        map[groupKey]*group
	// turns has the groups with calls, and aside those of scopes that are kept apart.
	turns, aside list[group]
	asideLast    bool
	// loads has what each scope has, and across what all have together.
	loads  map[string]*load
	across load
	// shared is the sum of that of all scopes, and counted numbers what countBatch did.
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
	// busy counts the workers that run something.
	busy int
	// taken counts what the workers took so far.
	taken Taken
}

// A load is what a scope has. Its queues are those in groups across scopes.
type load struct {
	counts
	queues  list[tenant]
	counted int
}

// counts are what waits and runs of the scope's own; the batches across scopes that it
// is in; and what the reserve runs of either kind.
type counts struct{ waiting, running, shared, spare int }

func (p *pool) init(workers int, maxBatchDelay time.Duration, changed func()) {
	p.workers, p.maxBatchDelay, p.changed = workers, maxBatchDelay, changed
	p.groups, p.loads = map[groupKey]*group{}, map[string]*load{}
}

// release notes that the worker is free.
func (p *pool) release(w *worker) {
	if w.reserve {
		p.spare.push(&w.node, w)
	} else {
		p.free.push(&w.node, w)
	}
}

func (p *pool) push(key groupKey, e *entry) {
	g := p.groups[key]
	if g == nil {
		g = &group{groupKey: key, tenants: map[string]*tenant{}, load: p.load(key)}
		p.groups[key] = g
	}
	if g.size == 0 {
		p.line(g)
	}
	t := g.tenants[e.id.Scope]
	if t == nil {
		t = &tenant{scope: e.id.Scope, group: g}
		g.tenants[t.scope] = t
		p.join(t)
	}
	t.calls.push(&e.turn, e)
	e.group = g
	g.size++
	p.count(g.load, counts{waiting: 1})
}

// join gives the tenant its turn after all others.
func (p *pool) join(t *tenant) {
	if !t.group.across {
		t.group.turns.push(&t.turn, t)
		return
	}
	l := p.load(groupKey{scope: t.scope})
	l.queues.push(&t.queue, t)
	p.place(t, l)
}

// place puts a tenant of a group across scopes where it belongs by what its scope runs.
func (p *pool) place(t *tenant, l *load) {
	g := t.group
	turns := &g.turns
	if p.workers > 1 && l.shared >= p.workers-1 {
		turns = &g.held
	}
	if t.turn.list != turns {
		t.turn.remove()
		turns.push(&t.turn, t)
	}
	if l.running+l.shared+l.spare > 0 {
		t.fresh.remove()
	} else if t.fresh.list == nil {
		g.fresh.push(&t.fresh, t)
	}
}

// tenants returns those of the group whose calls a worker may run.
func (p *pool) tenants(g *group, reserve bool) *list[tenant] {
	switch {
	case !g.across:
		return &g.turns
	case reserve:
		return &g.fresh
	case len(g.tenants) == 1 && g.held.size == 1 &&
		p.across.spare == 0 && p.shared == p.loads[g.held.front().scope].shared:
		return &g.held // No other scope is there.
	}
	return &g.turns
}

// line gives the group its turn after all others.
func (p *pool) line(g *group) {
	turns := &p.turns
	if g.apart {
		turns = &p.aside
	}
	turns.push(&g.turn, g)
}

func (p *pool) load(key groupKey) *load {
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

// count notes what there is more, waiting and running.
func (p *pool) count(l *load, more counts) {
	p.contend(l, -1)
	l.waiting += more.waiting
	l.running += more.running
	l.shared += more.shared
	l.spare += more.spare
	p.contend(l, 1)
	for t := range l.queues.all() {
		p.place(t, l)
	}
}

// countBatch notes that the worker's batch begins, or that it ends when sign is -1.
func (p *pool) countBatch(w *worker, sign int) {
	own, shared := counts{running: sign}, counts{shared: sign}
	if w.reserve {
		own, shared = counts{spare: sign}, counts{spare: sign}
	}
	p.count(w.group.load, own)
	if !w.group.across {
		return
	}
	p.counted++
	for _, e := range w.entries {
		l := p.load(groupKey{scope: e.id.Scope})
		if l.counted != p.counted { // Once for all calls of the scope.
			l.counted = p.counted
			p.shared += shared.shared
			p.count(l, shared)
			p.forgetLoad(e.id.Scope)
		}
	}
}

func (p *pool) contend(l *load, sign int) {
	if l.waiting > 0 {
		p.contenders += sign
	} else {
		p.others += sign * l.running
	}
}

// drop takes the call out of its group.
func (p *pool) drop(e *entry) {
	g := e.group
	g.drop(e)
	p.count(g.load, counts{waiting: -1})
	p.forgetLoad(e.id.Scope)
	if g.size == 0 {
		g.turn.remove()
		p.forget(g)
	}
}

// forget lets go of a group that has nothing left.
func (p *pool) forget(g *group) {
	if g.size > 0 {
		return
	}
	g.closeWindow()
	if g.running == 0 {
		delete(p.groups, g.groupKey)
		if !g.across {
			p.forgetLoad(g.scope)
		}
	}
}

// forgetLoad lets go of what a scope has when that is nothing.
func (p *pool) forgetLoad(scope string) {
	if l := p.loads[scope]; l != nil && l.counts == (counts{}) && l.queues.size == 0 {
		delete(p.loads, scope)
	}
}

// hand gives a free worker the calls that it should run now, if there are any, and
// returns it.
func (p *pool) hand() *worker {
	w := p.free.front()
	var g *group
	if w != nil {
		g = p.next(false)
	}
	if g == nil {
		if w = p.spare.front(); w == nil {
			return nil
		}
		if g = p.next(true); g == nil {
			return nil
		}
	}
	w.node.remove()
	g.turn.remove()
	g.closeWindow()
	w.group, w.entries, w.begun = g, g.take(p.tenants(g, w.reserve)), time.Now()
	p.begin(w)
	if g.size > 0 {
		p.line(g)
	}
	return w
}

// begin says that the worker runs its calls.
func (p *pool) begin(w *worker) {
	g, n := w.group, len(w.entries)
	g.running += n
	p.busy++
	p.asideLast = g.apart
	if g.apart {
		p.apart++
	}
	p.count(g.load, counts{waiting: -n})
	p.countBatch(w, 1)
	for _, e := range w.entries {
		p.taken.Waited += w.begun.Sub(e.since)
	}
	p.taken.Calls += uint64(n)
	p.taken.Sizes[min(bits.Len(uint(n-1)), len(p.taken.Sizes)-1)]++
}

// done says that the worker has run them.
func (p *pool) done(w *worker) {
	g := w.group
	g.running -= len(w.entries)
	p.busy--
	if g.apart {
		p.apart--
		p.restFor(time.Since(w.begun))
	}
	p.countBatch(w, -1)
	p.forget(g)
	w.group, w.entries = nil, nil
}

// next returns the group of which a worker should run calls now, or nil. Groups of
// scopes that are kept apart take turns with all others. What can't run comes to at
// most a group for each worker, so that the search is short.
func (p *pool) next(reserve bool) *group {
	first, second := &p.aside, &p.turns
	if p.asideLast {
		first, second = second, first
	}
	for _, turns := range [...]*list[group]{first, second} {
		if turns == &p.aside && turns.size > 0 && !p.asideAllowed(reserve) {
			continue
		}
		for g := range turns.all() {
			switch {
			case p.tenants(g, reserve).size == 0: // Their scopes have enough.
			case !p.ready(g):
				p.openWindow(g)
			case p.allowed(g, reserve):
				return g
			}
		}
	}
	return nil
}

// ready says whether a batch of the group should begin. Batches side by side are worth
// it when each has about as many calls: one more commit costs more than a short wait
// for one that is under way.
func (p *pool) ready(g *group) bool {
	return p.maxBatchDelay == 0 || g.size >= g.running || g.size >= g.lane.Max ||
		g.timer != nil && !time.Now().Before(g.closes)
}

// allowed says whether a worker may run the group's calls.
func (p *pool) allowed(g *group, reserve bool) bool {
	switch {
	case g.across:
		return true
	case reserve:
		return g.load.running+g.load.shared+g.load.spare == 0
	}
	share := p.workers - 1
	if g.lane == nil {
		share = p.workers * 3 / 4
	}
	equal := (p.workers - p.others + p.contenders - 1) / p.contenders
	return g.load.running < max(1, min(share, equal))
}
