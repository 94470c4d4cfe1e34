package schedule

import (
	"container/heap"
	"container/list"
	"math/bits"
	"slices"
	"sync"
	"time"
)

// An entry is a call as the queues see it. The scheduler's mutex guards it, and
// everything in this file.
type entry struct {
	id    ID
	lane  *Lane
	size  int
	owner any // the *Call[C, O]
	// group, and element in its tenant's queue, while the call waits for a worker.
	group   *group
	element *list.Element
	// place is the call's element in its scope's place.
	place *list.Element
	// unseen is the call's element in the list of those that wait to be looked up.
	unseen   *list.Element
	since    time.Time
	lookedUp bool
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
	turns   []*tenant
	tenants map[string]*tenant
	size    int
	// running counts the calls of the group that workers have.
	running int
	// timedOut says that the group waited long enough for more calls.
	timedOut bool
	timer    *time.Timer
}

type tenant struct {
	scope string
	calls list.List // of *entry
}

// A pool has the calls that wait for one kind of worker. Groups take turns.
//
// A scope never has all workers, however much it asks for: at most three of four run
// its single calls, and all but one its batches. While others wait, each has at most an
// equal share, and scopes that are kept apart have half of the workers together, half of
// the time. The reserve is a worker for those who have nothing running, because nothing
// interrupts an effect.
type pool struct {
	workers       int
	maxBatchDelay time.Duration
	groups        map[groupKey]*group
	turns         []*group
	// scopes counts what each scope has waiting and running, of its own.
	scopes map[string]*load
	// apart and across count the batches under way of scopes that are kept apart, and
	// of those over all scopes.
	apart, across int
	work, spare   sync.Cond
	// idle counts the workers that wait on work.
	idle      int
	spareIdle bool
	// busy counts the workers that run something.
	busy int
	// taken counts what the workers took so far.
	taken Taken
	// rest is until when scopes that are kept apart leave the workers to others: as long
	// as their last batch took.
	rest time.Time
}

// Taken counts what workers took from the queue.
type Taken struct {
	// Calls is how many, and Waited how long they had been in the queue together.
	Calls  uint64
	Waited time.Duration
	// Sizes counts the batches: those of one call, of 2, of 3 and 4, of up to 8, and so
	// on; the last of them those of more than 64.
	Sizes [8]uint64
}

func (t *Taken) add(batch []*entry) {
	now := time.Now()
	for _, e := range batch {
		t.Waited += now.Sub(e.since)
	}
	t.Calls += uint64(len(batch))
	t.Sizes[min(bits.Len(uint(len(batch)-1)), len(t.Sizes)-1)]++
}

type load struct{ waiting, running int }

func (p *pool) init(mu *sync.Mutex, workers int, maxBatchDelay time.Duration) {
	p.workers, p.maxBatchDelay = workers, maxBatchDelay
	p.groups, p.scopes = map[groupKey]*group{}, map[string]*load{}
	p.work.L, p.spare.L = mu, mu
}

func (p *pool) push(key groupKey, e *entry) {
	g := p.groups[key]
	if g == nil {
		g = &group{groupKey: key, tenants: map[string]*tenant{}}
		p.groups[key] = g
	}
	if g.size == 0 {
		p.turns = append(p.turns, g)
	}
	t := g.tenants[e.id.Scope]
	if t == nil {
		t = &tenant{scope: e.id.Scope}
		g.tenants[t.scope] = t
		g.turns = append(g.turns, t)
	}
	e.group, e.element = g, t.calls.PushBack(e)
	g.size++
	p.count(g, 1, 0)
}

// count notes what a group with a scope has waiting and running.
func (p *pool) count(g *group, waiting, running int) {
	if g.groupKey.across {
		return
	}
	l := p.scopes[g.scope]
	if l == nil {
		l = &load{}
		p.scopes[g.scope] = l
	}
	l.waiting += waiting
	l.running += running
	if *l == (load{}) {
		delete(p.scopes, g.scope)
	}
}

// drop takes the call out of its group.
func (p *pool) drop(e *entry) {
	g := e.group
	t := g.tenants[e.id.Scope]
	t.calls.Remove(e.element)
	e.group, e.element = nil, nil
	g.size--
	p.count(g, -1, 0)
	if t.calls.Len() == 0 {
		delete(g.tenants, t.scope)
		g.turns = slices.DeleteFunc(g.turns, func(other *tenant) bool { return other == t })
	}
	if g.size == 0 {
		p.turns = slices.DeleteFunc(p.turns, func(other *group) bool { return other == g })
		p.forget(g)
	}
}

// forget lets go of a group that has nothing left.
func (p *pool) forget(g *group) {
	if g.size > 0 {
		return
	}
	g.timedOut = false
	if g.timer != nil {
		g.timer.Stop()
		g.timer = nil
	}
	if g.running == 0 {
		delete(p.groups, g.groupKey)
	}
}

// take returns the calls that a worker should run now, and their group; or nil.
func (p *pool) take(reserve bool) ([]*entry, *group) {
	i := slices.IndexFunc(p.turns, func(g *group) bool { return p.ready(g) && p.allowed(g, reserve) })
	if i < 0 {
		return nil, nil
	}
	g := p.turns[i]
	p.turns = slices.Delete(p.turns, i, i+1)
	g.timedOut = false
	entries := g.take()
	p.count(g, -len(entries), 1)
	g.running += len(entries)
	p.busy++
	p.taken.add(entries)
	switch {
	case g.groupKey.across:
		p.across++
	case g.groupKey.apart:
		p.apart++
	}
	if g.size > 0 {
		p.turns = append(p.turns, g)
	} else {
		p.forget(g)
	}
	return entries, g
}

// done says that a worker has run so many calls of the group, and how long that took.
func (p *pool) done(g *group, calls int, took time.Duration) {
	if g.groupKey.apart {
		p.rest = time.Now().Add(took)
		time.AfterFunc(took, func() {
			p.work.L.Lock()
			defer p.work.L.Unlock()
			p.wake()
		})
	}
	g.running -= calls
	p.busy--
	p.count(g, 0, -1)
	switch {
	case g.groupKey.across:
		p.across--
	case g.groupKey.apart:
		p.apart--
	}
	p.forget(g)
}

// ready says whether a batch of the group should begin. Batches side by side are worth
// it when each has about as many calls: one more commit costs more than a short wait
// for one that is under way.
func (p *pool) ready(g *group) bool {
	return p.maxBatchDelay == 0 || g.timedOut || g.size >= g.running || g.size >= g.lane.Max
}

// allowed says whether a worker may run the group's calls.
func (p *pool) allowed(g *group, reserve bool) bool {
	if g.groupKey.across {
		return !reserve || p.across == 0
	}
	l := p.scopes[g.scope]
	if reserve {
		return l.running == 0 && !g.groupKey.apart
	}
	if others := p.across > 0 || len(p.turns) > 1; g.groupKey.apart && others &&
		(p.apart >= max(1, p.workers/2) || time.Now().Before(p.rest)) {
		return false
	}
	share := max(1, p.workers-1)
	if g.lane == nil {
		share = p.workers - p.workers/4
	}
	if len(p.turns) > 1 {
		share = min(share, (p.workers+len(p.scopes)-1)/len(p.scopes))
	}
	return l.running < share
}

// wake lets a worker that is free look for calls, and sets a timer for a batch that
// still waits for more of them.
func (p *pool) wake() {
	for _, g := range p.turns {
		switch {
		case !p.ready(g):
			if g.timer == nil {
				g.timer = time.AfterFunc(p.maxBatchDelay, func() { p.timeOut(g) })
			}
		case p.idle > 0 && p.allowed(g, false):
			p.work.Signal()
			return
		case p.spareIdle && p.allowed(g, true):
			p.spare.Signal()
			return
		}
		if p.idle == 0 && !p.spareIdle {
			return
		}
	}
}

func (p *pool) timeOut(g *group) {
	p.work.L.Lock()
	defer p.work.L.Unlock()
	g.timer = nil
	if g.size > 0 {
		g.timedOut = true
		p.wake()
	}
}

func (p *pool) wait(reserve bool) {
	if reserve {
		p.spareIdle = true
		p.spare.Wait()
		p.spareIdle = false
		return
	}
	p.idle++
	p.work.Wait()
	p.idle--
}

func (p *pool) broadcast() {
	p.work.Broadcast()
	p.spare.Broadcast()
}

// take removes the calls of the next batch. Each tenant gives one in its turn.
func (g *group) take() []*entry {
	most, bytes := 1, 0
	if g.lane != nil {
		most, bytes = g.lane.Max, g.lane.Bytes
	}
	taken := make([]*entry, 0, min(most, g.size))
	for len(taken) < cap(taken) {
		t := g.turns[0]
		e := t.calls.Front().Value.(*entry) //nolint:errcheck // push put it there.
		if bytes -= e.size; bytes < 0 && len(taken) > 0 {
			break
		}
		t.calls.Remove(e.element)
		e.group, e.element = nil, nil
		g.size--
		taken = append(taken, e)
		g.turns = g.turns[1:]
		if t.calls.Len() > 0 {
			g.turns = append(g.turns, t)
		} else {
			delete(g.tenants, t.scope)
		}
	}
	return taken
}

// places bounds how many calls wait for a worker. When all are taken, a scope that has
// fewer of them than the fullest one gets that one's last.
type places struct {
	limit, used int
	scopes      map[string]*place
	// fullest has the scope with the most places on top.
	fullest fullest
	serial  int
}

type place struct {
	scope string
	calls list.List // of *entry, in the order they came
	// Of two scopes that are as full, the one that came first is the fuller.
	serial, index int
}

func (p *places) init(limit int) { p.limit, p.scopes = limit, map[string]*place{} }

// refuses says whether there is no place for one more call of the scope.
func (p *places) refuses(scope string) bool {
	if p.used < p.limit {
		return false
	}
	most, own := p.fullest[0].calls.Len(), 0
	if place := p.scopes[scope]; place != nil {
		own = place.calls.Len()
	}
	return most <= 1 || own+1 >= most
}

// admit says whether there is a place for one more call of the scope, and which call
// has to give it up, if any.
func (p *places) admit(scope string) (evicted *entry, ok bool) {
	switch {
	case p.used < p.limit:
		return nil, true
	case p.refuses(scope):
		return nil, false
	}
	return p.fullest[0].calls.Back().Value.(*entry), true //nolint:errcheck // take put it there.
}

func (p *places) take(e *entry) {
	at := p.scopes[e.id.Scope]
	if at == nil {
		p.serial++
		at = &place{scope: e.id.Scope, serial: p.serial}
		p.scopes[at.scope] = at
		heap.Push(&p.fullest, at)
	}
	e.place = at.calls.PushBack(e)
	p.used++
	heap.Fix(&p.fullest, at.index)
}

func (p *places) leave(e *entry) {
	at := p.scopes[e.id.Scope]
	at.calls.Remove(e.place)
	e.place = nil
	p.used--
	if at.calls.Len() == 0 {
		heap.Remove(&p.fullest, at.index)
		delete(p.scopes, at.scope)
		return
	}
	heap.Fix(&p.fullest, at.index)
}

// fullest is a heap of places.
type fullest []*place

func (f fullest) Len() int { return len(f) }

func (f fullest) Less(i, j int) bool {
	if a, b := f[i].calls.Len(), f[j].calls.Len(); a != b {
		return a > b
	}
	return f[i].serial < f[j].serial
}

func (f fullest) Swap(i, j int) {
	f[i], f[j] = f[j], f[i]
	f[i].index, f[j].index = i, j
}

func (f *fullest) Push(x any) {
	at := x.(*place) //nolint:errcheck // heap.Push gets nothing else.
	at.index = len(*f)
	*f = append(*f, at)
}

func (f *fullest) Pop() any {
	last := (*f)[len(*f)-1]
	*f = (*f)[:len(*f)-1]
	return last
}
