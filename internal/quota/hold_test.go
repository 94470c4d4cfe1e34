package quota_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onceql/onceql/internal/quota"
)

func TestHold_LastsUntilTheNextRequestButNotForLong(t *testing.T) {
	t.Parallel()
	for perSecond, want := range map[float64]time.Duration{4: 250 * time.Millisecond, 1: time.Second, 0.1: time.Second, 1e-12: time.Second} {
		synctest.Test(t, func(t *testing.T) {
			r := quota.NewRate(perSecond, 1)
			if wait := r.Wait("a"); wait != 0 {
				t.Fatalf("the first waits for %s", wait)
			}
			began := time.Now()
			r.Hold(t.Context(), nil, "a", r.Wait("a"))
			if took := time.Since(began); took != want {
				t.Errorf("%v a second: held for %s, want %s", perSecond, took, want)
			}
			if r.Held() != 0 {
				t.Errorf("%d are held", r.Held())
			}
		})
	}
}

// Who sends again as soon as it is refused is refused no more often than it is let through,
// however many connections it has.
func TestHold_RefusesNoMoreThanTheRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := quota.NewRate(100, 100)
		var allowed, refused atomic.Int64
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var connections sync.WaitGroup
		for range 64 {
			connections.Go(func() {
				for ctx.Err() == nil {
					wait := r.Wait("a")
					if wait == 0 {
						allowed.Add(1)
						time.Sleep(time.Microsecond)
						continue
					}
					refused.Add(1)
					r.Hold(ctx, nil, "a", wait)
				}
			})
		}
		connections.Wait()
		if n := allowed.Load(); n < 1000 || n > 1101 {
			t.Errorf("%d requests were let through in 10 s, want 100 a second and 100 at once", n)
		}
		if n := refused.Load(); n > 1200 {
			t.Errorf("%d requests were refused in 10 s, want about 100 a second", n)
		}
	})
}

func TestHold_EndsWithTheRequestAndWithTheServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := quota.NewRate(0.1, 1)
		ctx, hangUp := context.WithCancel(t.Context())
		draining := make(chan struct{})
		began := time.Now()
		for range 3 {
			go r.Hold(ctx, draining, "a", time.Minute)
			go r.Hold(t.Context(), draining, "b", time.Minute)
		}
		for _, step := range []struct {
			end  func()
			held int
		}{{func() {}, 6}, {hangUp, 3}, {func() { close(draining) }, 0}} {
			step.end()
			synctest.Wait()
			if n := r.Held(); n != step.held {
				t.Errorf("%d are held, want %d", n, step.held)
			}
		}
		r.Hold(t.Context(), draining, "c", time.Minute)
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %s", took)
		}
	})
}

// Above so many of a tenant, and of all, a refusal is told at once.
func TestHold_IsOfABoundedNumber(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := quota.NewRate(0.1, 1)
		hold := func(tenant string, n, want int) {
			t.Helper()
			for range n {
				go r.Hold(t.Context(), nil, tenant, time.Minute)
			}
			synctest.Wait()
			if held := r.Held(); held != want {
				t.Errorf("%d are held with those of %s, want %d", held, tenant, want)
			}
		}
		hold("a", 2000, quota.HoldsOfOne)
		hold("b", 10, quota.HoldsOfOne+10)
		for i := range 5 {
			hold(fmt.Sprint(i), 2000, min((i+2)*quota.HoldsOfOne+10, quota.Holds))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := r.Held(); n != 0 {
			t.Errorf("%d are held after a second", n)
		}
		hold("a", 2000, quota.HoldsOfOne)
	})
}
