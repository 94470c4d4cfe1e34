package quota

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// A Rate bounds the requests of each tenant in a second. It is safe for use by many
// goroutines.
type Rate struct {
	tenants   recent[limiter]
	perSecond rate.Limit
	burst     int
	// held counts the refusals that are held, see Hold.
	held atomic.Int64
}

// A limiter is that of a tenant. Its requests come one after the other: a rate.Limiter that
// is told an earlier time than before counts the time between twice, and gives a reservation
// back only when none was made since.
type limiter struct {
	mu sync.Mutex
	*rate.Limiter
	held int
}

// NewRate returns a rate of so many requests a second, of which so many may come at once.
func NewRate(perSecond float64, burst int) *Rate {
	return &Rate{tenants: newRecent[limiter](), perSecond: rate.Limit(perSecond), burst: burst}
}

func (r *Rate) of(tenant string) *limiter {
	return r.tenants.of(tenant, func() *limiter { return &limiter{Limiter: rate.NewLimiter(r.perSecond, r.burst)} })
}

// Wait returns how long the tenant has to wait until its next request is let through, and 0
// for one that is.
func (r *Rate) Wait(tenant string) time.Duration {
	l := r.of(tenant)
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	turn := l.ReserveN(now, 1)
	wait := turn.DelayFrom(now)
	if wait > 0 {
		turn.CancelAt(now)
	}
	return wait
}
