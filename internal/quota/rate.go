package quota

import (
	"time"

	"golang.org/x/time/rate"
)

// A Rate bounds the requests of each tenant in a second. It is safe for use by many
// goroutines.
type Rate struct {
	tenants   *recent[rate.Limiter]
	perSecond rate.Limit
	burst     int
}

// NewRate returns a rate of so many requests a second, of which so many may come at once.
func NewRate(perSecond float64, burst int) *Rate {
	return &Rate{newRecent[rate.Limiter](), rate.Limit(perSecond), burst}
}

// Wait returns how long the tenant has to wait until its next request is let through, and 0
// for one that is.
func (r *Rate) Wait(tenant string) time.Duration {
	limiter := r.tenants.of(tenant, func() *rate.Limiter { return rate.NewLimiter(r.perSecond, r.burst) })
	now := time.Now()
	turn := limiter.ReserveN(now, 1)
	wait := turn.DelayFrom(now)
	if wait > 0 {
		turn.CancelAt(now)
	}
	return wait
}
