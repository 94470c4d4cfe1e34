package quota

import (
	"context"
	"time"
)

const (
	// longestHold is how long a refusal is held at most.
	longestHold = time.Second
	// holds bounds the refusals that are held, and holdsOfOne those of one tenant. Each
	// is a connection that waits, which costs little more than one that is idle.
	holds      = 4096
	holdsOfOne = 1024
)

// Hold waits before a request is refused that would have to wait so long: until it could be
// let through if all that the tenant has here already were let through before it. So who
// sends again as soon as it is refused gains nothing, and is refused no more often than the
// rate. It returns after a second at the latest, when ctx ends, when draining is closed, and
// at once while too many are held.
func (r *Rate) Hold(ctx context.Context, draining <-chan struct{}, tenant string, wait time.Duration) {
	l := r.of(tenant)
	before, ok := r.enter(l)
	if !ok {
		return
	}
	defer r.leave(l)
	seconds := min(wait.Seconds()+float64(before)/float64(r.perSecond), longestHold.Seconds())
	timer := time.NewTimer(time.Duration(seconds * float64(time.Second)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-draining:
	}
}

// enter says how many of the tenant's were held before, and false when it may hold no more.
func (r *Rate) enter(l *limiter) (before int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == holdsOfOne {
		return 0, false
	}
	if r.held.Add(1) > holds {
		r.held.Add(-1)
		return 0, false
	}
	l.held++
	return l.held - 1, true
}

func (r *Rate) leave(l *limiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held--
	r.held.Add(-1)
}

// Held returns how many refusals are held now.
func (r *Rate) Held() int { return int(r.held.Load()) }
