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
// those who have nothing running, because nothing interrupts an effect. In a batch
// across scopes they take turns.
type pool struct {
	workers       int
	maxBatchDelay time.Duration
	groups        map[groupKey]*group
	// turns has the groups with calls, and aside those of scopes that are kept apart.
	turns, aside list[group]
	asideLast    bool
	// loads has what each scope has of its own, and across what all have together.
	loads  map[string]*load
	across load
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

// A load is what a scope has waiting, running, and running by the reserve.
type load struct{ waiting, running, spare int }

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
	g.push(e)
	p.count(g, load{waiting: 1})
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

// count notes what a group has more, waiting and running.
func (p *pool) count(g *group, more load) {
	l := g.load
	p.contend(l, -1)
	l.waiting += more.waiting
	l.running += more.running
	l.spare += more.spare
	p.contend(l, 1)
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
	p.count(g, load{waiting: -1})
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
		if !g.across && *g.load == (load{}) {
			delete(p.loads, g.scope)
		}
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
	w.group, w.entries, w.begun = g, g.take(), time.Now()
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
	if w.reserve {
		p.count(g, load{waiting: -n, spare: 1})
	} else {
		p.count(g, load{waiting: -n, running: 1})
	}
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
	if w.reserve {
		p.count(g, load{spare: -1})
	} else {
		p.count(g, load{running: -1})
	}
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
	case reserve:
		return g.load.running+g.load.spare == 0
	case g.across:
		return true
	}
	share := p.workers - 1
	if g.lane == nil {
		share = p.workers * 3 / 4
	}
	equal := (p.workers - p.others + p.contenders - 1) / p.contenders
	return g.load.running < max(1, min(share, equal))
}
