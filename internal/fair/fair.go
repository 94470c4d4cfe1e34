// Package fair shares something of which there is only so much among tenants: connections,
// processors, bytes.
//
//	gate := fair.New(fair.Config{Slots: 8, Share: 3, Waiting: 4096, OfOne: 1024})
//	leave, err := gate.Enter(ctx, tenant, 1)
//	if err != nil {
//		return err // ErrFull, or that of ctx.
//	}
//	defer leave()
//
// Whoever has the least comes first, and among equals who came first: each tenant that
// waits has the same share of the slots, and those who ask for less have what they ask for.
// Nothing interrupts who is in, so a tenant that has something never gets the last of what
// is free: that is kept for tenants that have nothing. A newcomer waits behind newcomers
// alone, however much one tenant asks for and however slow it is.
//
// A Cap is for what has no slots, as processors: it bounds how many requests of one tenant
// are at work beside another tenant's.
package fair

import (
	"container/heap"
	"container/list"
	"context"
	"errors"
	"sync"
)

// ErrFull reports that too many wait already. Nothing was begun.
var ErrFull = errors.New("too many wait already")

// Config says how much a Gate shares, and how. All numbers are at least 1.
type Config struct {
	// Slots is how much there is.
	Slots int64
	// Share is how many times of what stays free one tenant may have: with 3 it has at
	// most three quarters of the slots, with 1 half of them, when nobody else has any.
	Share int64
	// Waiting is how many may wait, and OfOne how many of one tenant. When all places are
	// taken, a tenant with fewer waiting than the one with the most takes that one's last.
	Waiting, OfOne int
}

// A Gate lets in as much as there is. It is safe for use by many goroutines.
type Gate struct {
	config Config

	mu   sync.Mutex
	free int64
	// tenants are those that have something or wait, and queue those that wait.
	tenants map[string]*tenant
	queue   queue
	waiting int
	// turns numbers the turns that were given.
	turns uint64
}

// A tenant is one that has something or waits.
type tenant struct {
	name string
	has  int64
	// waits has its waiters in the order in which they came.
	waits list.List
	// turn says who comes first among equals, and index is its place in the queue.
	turn  uint64
	index int
}

type waiter struct {
	n int64
	// done is closed once it is let in, or refused.
	done    chan struct{}
	refused bool
	place   *list.Element
}

// New returns a gate with all of its slots free.
func New(config Config) *Gate {
	return &Gate{config: config, free: config.Slots, tenants: map[string]*tenant{}}
}

// Enter waits until the tenant may have n slots, and returns what gives them back, to be
// called once. It returns ErrFull when too many wait, and ctx's error when that ends first.
// More slots than there are count as all of them.
func (g *Gate) Enter(ctx context.Context, name string, n int64) (leave func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n = min(n, g.config.Slots)
	leave = func() { g.Leave(name, n) }
	w := g.enter(name, n)
	if w == nil {
		return leave, nil
	}
	select {
	case <-w.done:
	case <-ctx.Done():
		if g.giveUp(name, w) {
			return nil, ctx.Err()
		}
	}
	if w.refused {
		return nil, ErrFull
	}
	return leave, nil
}

// TryEnter is Enter for those who can't wait: it says no where Enter would wait. What it takes
// is given back by Leave.
func (g *Gate) TryEnter(name string, n int64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.tenant(name)
	if !g.mayEnter(t, n) {
		g.forget(t)
		return false
	}
	g.take(t, n)
	return true
}

// Slots returns how much there is.
func (g *Gate) Slots() int64 { return g.config.Slots }

// Stats are what a gate does at a moment.
type Stats struct {
	// Taken are the slots that are not free, and Waiting those who wait.
	Taken   int64
	Waiting int
}

// Stats returns what the gate does now.
func (g *Gate) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Stats{Taken: g.config.Slots - g.free, Waiting: g.waiting}
}

// enter returns nil for one that is let in at once.
func (g *Gate) enter(name string, n int64) *waiter {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.tenant(name)
	w := &waiter{n: n}
	switch {
	case g.mayEnter(t, n):
		g.take(t, n)
		return nil
	case t.waits.Len() >= g.config.OfOne || g.waiting >= g.config.Waiting && !g.makePlace(t):
		g.forget(t)
		w.refuse()
		return w
	}
	w.done = make(chan struct{})
	w.place = t.waits.PushBack(w)
	g.waiting++
	if t.waits.Len() == 1 {
		g.nextTurn(t)
		heap.Push(&g.queue, t)
	}
	return w
}

// tenant returns the tenant of that name, which is new when it has nothing and does not wait.
func (g *Gate) tenant(name string) *tenant {
	t := g.tenants[name]
	if t == nil {
		t = &tenant{name: name}
		g.tenants[name] = t
	}
	return t
}

// mayEnter says whether the tenant may have so much at once, because nobody comes before it.
func (g *Gate) mayEnter(t *tenant, n int64) bool {
	first := t.waits.Len() == 0 && (len(g.queue) == 0 || t.has < g.queue[0].has)
	return first && g.allowed(t, n)
}

// allowed says whether the tenant may have so much more now.
func (g *Gate) allowed(t *tenant, n int64) bool {
	left := g.free - n
	return left >= 0 && (t.has == 0 || t.has+n <= g.config.Share*left)
}

func (g *Gate) take(t *tenant, n int64) {
	g.free -= n
	t.has += n
	g.nextTurn(t)
}

// nextTurn puts the tenant behind all that have as much as it has.
func (g *Gate) nextTurn(t *tenant) {
	g.turns++
	t.turn = g.turns
}

// makePlace refuses the last waiter of the tenant that has the most, unless that has no
// more than t would.
func (g *Gate) makePlace(t *tenant) bool {
	var fullest *tenant
	for _, other := range g.queue {
		if fullest == nil || other.waits.Len() > fullest.waits.Len() {
			fullest = other
		}
	}
	if fullest == nil || fullest.waits.Len() <= t.waits.Len()+1 {
		return false
	}
	w, _ := fullest.waits.Back().Value.(*waiter)
	g.drop(fullest, w)
	w.refuse()
	return true
}

// refuse tells one who waits that it does so in vain.
func (w *waiter) refuse() {
	w.refused = true
	if w.done == nil {
		w.done = make(chan struct{})
	}
	close(w.done)
}

// giveUp says whether the waiter was neither let in nor refused before.
func (g *Gate) giveUp(name string, w *waiter) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-w.done:
		return false
	default:
	}
	t := g.tenants[name]
	g.drop(t, w)
	g.forget(t)
	g.admit() // It may have been the one that the others were behind.
	return true
}

// drop takes the waiter out of its tenant's.
func (g *Gate) drop(t *tenant, w *waiter) {
	t.waits.Remove(w.place)
	g.waiting--
	if t.waits.Len() == 0 {
		heap.Remove(&g.queue, t.index)
	}
}

// Leave gives back n slots of those that the tenant has. It takes the place of what Enter
// returned, for whoever gives back a part before the rest.
func (g *Gate) Leave(name string, n int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.tenants[name]
	g.free += n
	t.has -= n
	if t.waits.Len() > 0 {
		heap.Fix(&g.queue, t.index)
	}
	g.forget(t)
	g.admit()
}

// admit lets in whoever may come in, in their order. Who asks for much is not passed over,
// or it would wait for ever.
func (g *Gate) admit() {
	for len(g.queue) > 0 {
		t := g.queue[0]
		w, _ := t.waits.Front().Value.(*waiter)
		if !g.allowed(t, w.n) {
			return
		}
		g.take(t, w.n)
		t.waits.Remove(w.place)
		g.waiting--
		if t.waits.Len() == 0 {
			heap.Pop(&g.queue)
		} else {
			heap.Fix(&g.queue, 0)
		}
		close(w.done)
	}
}

// forget removes a tenant that has nothing and does not wait.
func (g *Gate) forget(t *tenant) {
	if t.has == 0 && t.waits.Len() == 0 {
		delete(g.tenants, t.name)
	}
}

// A queue is a heap of tenants that wait: first those who have the least, and among them
// whose last turn is the longest ago.
type queue []*tenant

func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool {
	if q[i].has != q[j].has {
		return q[i].has < q[j].has
	}
	return q[i].turn < q[j].turn
}

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *queue) Push(x any) {
	t, _ := x.(*tenant)
	t.index = len(*q)
	*q = append(*q, t)
}

func (q *queue) Pop() any {
	last := len(*q) - 1
	t := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return t
}
