package quota_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onceql/onceql/internal/quota"
)

func TestRate_IsEachTenantsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := quota.NewRate(2, 3)
		allowed := func(tenant string) (n int) {
			for r.Wait(tenant) == 0 {
				n++
			}
			return n
		}
		for _, tenant := range []string{"a", "b", ""} {
			if n := allowed(tenant); n != 3 {
				t.Errorf("%d requests of %q at once, want 3", n, tenant)
			}
		}
		if wait := r.Wait("a"); wait != 500*time.Millisecond {
			t.Errorf("the next is let through in %s, want 500 ms", wait)
		}
		time.Sleep(time.Second)
		if n := allowed("a"); n != 2 {
			t.Errorf("%d requests after a second, want 2", n)
		}
		time.Sleep(time.Hour)
		if n := allowed("a"); n != 3 {
			t.Errorf("%d requests after an hour, want 3", n)
		}
	})
}

func TestRate_HoldsForRequestsThatComeTogether(t *testing.T) {
	t.Parallel()
	r := quota.NewRate(10, 10)
	began := time.Now()
	var allowed atomic.Int64
	var requests sync.WaitGroup
	for range 256 {
		requests.Go(func() {
			for time.Since(began) < time.Second {
				if r.Wait("a") == 0 {
					allowed.Add(1)
				}
			}
		})
	}
	requests.Wait()
	if n, most := allowed.Load(), 11+int64(10*time.Since(began).Seconds()); n > most {
		t.Errorf("%d requests were let through, want at most %d", n, most)
	}
	if wait := r.Wait("a"); wait > 100*time.Millisecond {
		t.Errorf("the next is let through in %s, want at most 100 ms", wait)
	}
}

func TestRate_KnowsABoundedNumberOfTenants(t *testing.T) {
	t.Parallel()
	r := quota.NewRate(1e-9, 1)
	r.Wait("a")
	for i := range 3 * quota.MostTenants {
		r.Wait(fmt.Sprint(i))
		if i%1000 == 0 && r.Wait("a") == 0 {
			t.Fatalf("a tenant that goes on is forgotten after %d others", i)
		}
		if n := r.Tenants(); n > quota.MostTenants {
			t.Fatalf("%d tenants are known, want at most %d", n, quota.MostTenants)
		}
	}
}
