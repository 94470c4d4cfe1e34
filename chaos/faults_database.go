package main

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/onceql/onceql/chaos/fleet"
)

// happens makes a fault that always comes about of a function.
func happens(fault func(context.Context) error) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		err := fault(ctx)
		return err == nil, err
	}
}

// between draws a duration.
func between(random *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(random.Int64N(int64(to-from)))
}

// databases are the faults of PostgreSQL and its hosts.
func (x *chaos) databases(random *rand.Rand) *stream {
	// The proxy of one of these knows the steps of its executions.
	watched := func() *fleet.Server { return x.fleet.Servers[random.IntN(2)] }
	return &stream{name: "databases", rest: 600 * time.Millisecond, faults: map[string]func(context.Context) (bool, error){
		primaryKilled: happens(func(ctx context.Context) error {
			x.sometimesAtStep(random, watched(), x.cluster.Primary().Kill)
			time.Sleep(between(random, 0, 300*time.Millisecond))
			return x.cluster.Recover(ctx)
		}),
		primaryFrozen: happens(func(context.Context) error {
			x.sometimesAtStep(random, watched(), x.cluster.Primary().Freeze)
			time.Sleep(between(random, 100*time.Millisecond, 1500*time.Millisecond))
			x.cluster.Primary().Thaw()
			return nil
		}),
		primaryImmediate: happens(func(ctx context.Context) error {
			x.sometimesAtStep(random, watched(), x.cluster.ShutImmediately)
			return x.cluster.Recover(ctx)
		}),
		standbyKilled: happens(func(ctx context.Context) error {
			x.cluster.Standby().Kill()
			time.Sleep(between(random, 0, time.Second))
			return x.cluster.Recover(ctx)
		}),
		backendsEnded: func(ctx context.Context) (bool, error) {
			ended, err := x.cluster.TerminateBackends(ctx, 1+random.IntN(3))
			return ended > 0, err
		},
		failedOver: happens(func(ctx context.Context) error { return x.failover(ctx, random, watched()) }),
		clockShifted: happens(func(context.Context) error {
			// Less than a day: keys of other servers than Short stay within their window.
			by := between(random, -6*time.Hour, 6*time.Hour)
			return x.cluster.Hosts()[random.IntN(2)].ShiftClock(by)
		}),
		bouncerMisled: happens(func(context.Context) error {
			// As an address that is late does. The standby takes no writes.
			if err := x.cluster.Bouncer.Lead(x.cluster.Standby().Port); err != nil {
				return err
			}
			time.Sleep(between(random, 200*time.Millisecond, time.Second))
			return x.cluster.Bouncer.Lead(x.cluster.Primary().Port)
		}),
		diskFull: happens(func(ctx context.Context) error { return x.fillDisk(ctx, random) }),
	}}
}

// failover fences the primary, that is frozen at times, and promotes the standby.
func (x *chaos) failover(ctx context.Context, random *rand.Rand, s *fleet.Server) error {
	frozen := random.IntN(3) == 0
	pause := between(random, 0, time.Second)
	x.sometimesAtStep(random, s, func() {
		if frozen {
			x.cluster.Primary().Freeze()
			time.Sleep(pause)
		}
		x.cluster.Fence()
	})
	if err := x.cluster.Promote(ctx); err != nil {
		return err
	}
	// Commits hang until there is a standby again.
	time.Sleep(pause)
	return x.cluster.Rebuild(ctx)
}

// fillDisk leaves a host without space for a moment. PostgreSQL may not live through it.
func (x *chaos) fillDisk(ctx context.Context, random *rand.Rand) error {
	h := x.cluster.Primary()
	if random.IntN(4) == 0 {
		h = x.cluster.Standby()
	}
	if err := h.FillDisk(); err != nil {
		return err
	}
	time.Sleep(between(random, 300*time.Millisecond, 1200*time.Millisecond))
	if err := h.FreeDisk(); err != nil {
		return err
	}
	return x.cluster.Recover(ctx)
}
