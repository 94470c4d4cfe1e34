package fair

import (
	"container/list"
	"context"
	"sync"
	"time"
)

const (
	// active is how long after one of it was let in a tenant counts as active.
	active = time.Second
	// atWork is how long who was let in counts as at work. Whoever takes longer mostly waits
	// for something else, such as a lock or another call of its key.
	atWork = 100 * time.Millisecond
)

// CapConfig says how many a Cap lets in. All numbers are at least 1.
type CapConfig struct {
	// AtOnce is how many of one tenant are at work while another tenant is active.
	AtOnce int
	// Waiting is how many may wait, and OfOne how many of one tenant. When all places are
	// taken, a tenant with fewer waiting than the one with the most takes that one's last.
	Waiting, OfOne int
}

// A Cap bounds how many of one tenant are at work at once, while another tenant is active:
// each of them delays each step of the other's. A tenant is active for a second after one of
// it was let in, and one that is alone is not bounded. Tenants never wait for each other, and
// those of one are let in in the order in which they came. It is safe for use by many
// goroutines.
//
// Nobody waits for those who do not work: after 100 ms, who was let in gives its slot back
// and goes on without it. So each waiter moves up at least that often.
type Cap struct {
	config CapConfig

	mu sync.Mutex
	// tenants are those that have somebody at work or waiting.
	tenants map[string]*capped
	waiting int
	// last are the two tenants of which one was let in last, the latest first.
	last [2]arrival
}

type arrival struct {
	tenant string
	at     time.Time
}

// A capped tenant has somebody at work or waiting.
type capped struct {
	name   string
	atWork int
	// waits has its slots that wait, in the order in which they came.
	waits list.List
}

// A slot is one that is at work, or waits to be.
type slot struct {
	tenant *capped
	// done is closed once it is let in, or refused; nil if it never waited. The others say
	// what became of it.
	done          chan struct{}
	place         *list.Element
	refused, left bool
	timer         *time.Timer
}

// NewCap returns a cap with nobody at work.
func NewCap(config CapConfig) *Cap {
	return &Cap{config: config, tenants: map[string]*capped{}}
}

// Enter waits until one more of the tenant may be at work, and returns what gives its slot
// back, which may be called more than once. It returns ErrFull when too many wait, and ctx's
// error when that ends first.
func (c *Cap) Enter(ctx context.Context, name string) (leave func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := c.enter(name)
	if s.done != nil {
		select {
		case <-s.done:
		case <-ctx.Done():
			if c.giveUp(s) {
				return nil, ctx.Err()
			}
		}
	}
	if s.refused {
		return nil, ErrFull
	}
	return func() { c.leave(s) }, nil
}

// Stats returns what the cap does now. Taken are those at work.
func (c *Cap) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	stats := Stats{Waiting: c.waiting}
	for _, t := range c.tenants {
		stats.Taken += int64(t.atWork)
	}
	return stats
}

// enter returns a slot that is at work, waits or is refused.
func (c *Cap) enter(name string) *slot {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	t := c.tenants[name]
	if t == nil {
		t = &capped{name: name}
		c.tenants[name] = t
	}
	c.admit(t, now) // It may be alone by now, and those who wait came first.
	s := &slot{tenant: t}
	switch {
	case c.allowed(t, now): // Then nobody waits.
		c.let(s, now)
	case t.waits.Len() >= c.config.OfOne || c.waiting >= c.config.Waiting && !c.makePlace(t):
		s.refused = true
	default:
		s.done = make(chan struct{})
		s.place = t.waits.PushBack(s)
		c.waiting++
	}
	return s
}

// allowed says whether one more of the tenant may be at work: few are, or no other tenant
// is active.
func (c *Cap) allowed(t *capped, now time.Time) bool {
	if t.atWork < c.config.AtOnce {
		return true
	}
	other := c.last[0]
	if other.tenant == t.name {
		other = c.last[1]
	}
	return now.Sub(other.at) >= active
}

// let lets the slot in, and notes that its tenant is active.
func (c *Cap) let(s *slot, now time.Time) {
	if c.last[0].tenant != s.tenant.name {
		c.last[1] = c.last[0]
	}
	c.last[0] = arrival{s.tenant.name, now}
	s.tenant.atWork++
	s.timer = time.AfterFunc(atWork, func() { c.leave(s) })
}

// admit lets in whoever of the tenant may come in. It is called when one of it leaves: as
// long as somebody waits, somebody is at work, who leaves within atWork.
func (c *Cap) admit(t *capped, now time.Time) {
	for t.waits.Len() > 0 && c.allowed(t, now) {
		s, _ := t.waits.Front().Value.(*slot)
		c.drop(s)
		c.let(s, now)
		close(s.done)
	}
}

// leave gives the slot back, once.
func (c *Cap) leave(s *slot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.left {
		return
	}
	s.left = true
	s.timer.Stop()
	s.tenant.atWork--
	c.admit(s.tenant, time.Now())
	c.forget(s.tenant)
}

// giveUp says whether the slot was neither let in nor refused before.
func (c *Cap) giveUp(s *slot) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-s.done:
		return false
	default:
	}
	c.drop(s)
	return true
}

// makePlace refuses the last waiter of the tenant that has the most, unless that has no
// more than t would.
func (c *Cap) makePlace(t *capped) bool {
	fullest := t
	for _, other := range c.tenants {
		if other.waits.Len() > fullest.waits.Len() {
			fullest = other
		}
	}
	if fullest.waits.Len() <= t.waits.Len()+1 {
		return false
	}
	s, _ := fullest.waits.Back().Value.(*slot)
	c.drop(s)
	s.refused = true
	close(s.done)
	return true
}

// drop takes the slot out of those that wait.
func (c *Cap) drop(s *slot) {
	s.tenant.waits.Remove(s.place)
	c.waiting--
}

// forget removes a tenant that has nobody at work. Nobody of it waits then.
func (c *Cap) forget(t *capped) {
	if t.atWork == 0 {
		delete(c.tenants, t.name)
	}
}
