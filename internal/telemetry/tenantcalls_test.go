package telemetry_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/onceql/onceql/internal/telemetry"
)

// A clock is one that the test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newCalls(places int) (*telemetry.TenantCalls, *clock) {
	c := &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	return telemetry.NewTenantCallsAt(places, c.now), c
}

func count(calls *telemetry.TenantCalls, tenant string, outcome telemetry.Outcome, n int) {
	for range n {
		calls.Count(telemetry.Call{Tenant: tenant, Outcome: outcome})
	}
}

func TestTenantCalls_CountsByTenantAndOutcome(t *testing.T) {
	t.Parallel()
	calls, clock := newCalls(10)
	count(calls, "", telemetry.CallExecuted, 1)
	count(calls, "acme", telemetry.CallExecuted, 3)
	count(calls, "acme", telemetry.CallReplayed, 2)
	want := telemetry.CountedCalls{Since: clock.at, Tenants: []telemetry.CallsOfTenant{
		{Tenant: "acme", Calls: 5, Outcomes: map[string]uint64{"executed": 3, "replayed": 2}},
		{Calls: 1, Outcomes: map[string]uint64{"executed": 1}},
	}}
	if diff := cmp.Diff(want, calls.Read(10)); diff != "" {
		t.Error(diff)
	}
	want.Tenants, want.Unlisted = want.Tenants[:1], 1
	if diff := cmp.Diff(want, calls.Read(1)); diff != "" {
		t.Error(diff)
	}
}

// Calls are forgotten after 15 to 30 minutes.
func TestTenantCalls_AreThoseOfLately(t *testing.T) {
	t.Parallel()
	calls, clock := newCalls(10)
	begun := clock.at
	count(calls, "a", telemetry.CallExecuted, 1)
	for _, step := range []struct {
		after, since time.Duration
		calls        uint64
	}{
		{14 * time.Minute, 0, 2},
		{16 * time.Minute, 0, 3},
		{31 * time.Minute, 16 * time.Minute, 2},
		{70 * time.Minute, 55 * time.Minute, 1},
	} {
		clock.at = begun.Add(step.after)
		count(calls, "a", telemetry.CallExecuted, 1)
		got := calls.Read(1)
		if got.Tenants[0].Calls != step.calls || !got.Since.Equal(begun.Add(step.since)) {
			t.Errorf("after %s there are %+v", step.after, got)
		}
	}
	clock.at = clock.at.Add(time.Hour)
	if got := calls.Read(1); len(got.Tenants) > 0 {
		t.Errorf("an hour later there are %+v", got)
	}
}

// However many tenants call, those that call most are counted, none too high, and what was
// missed is within what is said.
func TestTenantCalls_KeepsThoseThatCallMost(t *testing.T) {
	t.Parallel()
	const places, tenants, total = 100, 10_000, 200_000
	calls, clock := newCalls(places)
	random := rand.New(rand.NewPCG(1, 2)) // The same in each run.
	made := map[string]uint64{}
	for i := range total {
		if i == total/2 {
			clock.at = clock.at.Add(20 * time.Minute)
		}
		tenant := fmt.Sprint(random.IntN(tenants))
		if i%4 == 0 {
			tenant = fmt.Sprint("large-", i%5)
		}
		made[tenant]++
		count(calls, tenant, telemetry.CallExecuted, 1)
	}
	got := calls.Read(tenants)
	if len(got.Tenants) > 2*places {
		t.Errorf("%d tenants are kept", len(got.Tenants))
	}
	listed := map[string]bool{}
	for _, c := range got.Tenants {
		listed[c.Tenant] = true
		if c.Calls > made[c.Tenant] || c.Calls+c.Missed < made[c.Tenant] {
			t.Errorf("of %d calls it says %+v", made[c.Tenant], c)
		}
	}
	for tenant, n := range made {
		if !listed[tenant] && n > got.Unlisted {
			t.Errorf("%s made %d calls and is not listed; it says that those made %d at most", tenant, n, got.Unlisted)
		}
	}
	for i := range 5 {
		if c := got.Tenants[i]; c.Tenant[0] != 'l' || c.Missed > total/places {
			t.Errorf("among the first there is %+v", c)
		}
	}
}

// Names of tenants come from outside, so memory is bounded whatever they are.
func TestTenantCalls_AreBoundedInMemory(t *testing.T) {
	calls, clock := newCalls(10_000)
	before := heap()
	for i := range 100_000 {
		if i == 50_000 {
			clock.at = clock.at.Add(20 * time.Minute)
		}
		// As part of a token.
		token := fmt.Sprintf("%0255d and more of the token: %01000d", i, i)
		calls.Count(telemetry.Call{Tenant: token[:255], Outcome: telemetry.CallExecuted})
	}
	if grown := heap() - before; grown > 10_000_000 {
		t.Errorf("it has grown by %d bytes", grown)
	}
	runtime.KeepAlive(calls)
}

func heap() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

func TestTenantCalls_AreServedAsJSON(t *testing.T) {
	t.Parallel()
	calls := telemetry.NewTenantCalls()
	var calling sync.WaitGroup
	for range 4 {
		calling.Go(func() {
			count(calls, "\u202e\"<x>\n", telemetry.CallReplayed, 100)
			calls.Read(1)
		})
	}
	calling.Wait()
	count(calls, "b", telemetry.CallCancelled, 1)
	for query, want := range map[string]int{"": 2, "?limit=1": 1, "?limit=0": 0} {
		answer := httptest.NewRecorder()
		calls.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/tenants"+query, nil))
		var got telemetry.CountedCalls
		if err := json.Unmarshal(answer.Body.Bytes(), &got); err != nil || answer.Code != 200 || len(got.Tenants) != want {
			t.Errorf("%s: %d %s", query, answer.Code, answer.Body)
		}
		if want > 0 && (got.Tenants[0].Tenant != "\u202e\"<x>\n" || got.Tenants[0].Outcomes["replayed"] != 400) {
			t.Errorf("%s: %s", query, answer.Body)
		}
	}
	for _, query := range []string{"?limit=-1", "?limit=x", "?limit=99999999999999999999"} {
		answer := httptest.NewRecorder()
		calls.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/tenants"+query, nil))
		if answer.Code != 400 {
			t.Errorf("%s: %d", query, answer.Code)
		}
	}
}

func BenchmarkTenantCalls(b *testing.B) {
	names := make([]string, 100_000)
	for i := range names {
		names[i] = fmt.Sprintf("tenant-%d", i)
	}
	for _, tenants := range []int{1, 1000, 10_000, 100_000} {
		b.Run(fmt.Sprint(tenants), func(b *testing.B) {
			calls := telemetry.NewTenantCalls()
			b.RunParallel(func(pb *testing.PB) {
				for i := rand.IntN(tenants); pb.Next(); i++ {
					calls.Count(telemetry.Call{Tenant: names[i%tenants], Outcome: telemetry.CallExecuted})
				}
			})
		})
	}
}

// A stuck is the writer of an answer whose reader takes nothing.
type stuck struct {
	http.ResponseWriter
	writes chan struct{}
	until  <-chan struct{}
}

func (s stuck) Write(text []byte) (int, error) {
	s.writes <- struct{}{}
	<-s.until
	return s.ResponseWriter.Write(text)
}

// Readers that take nothing of their answers do not fill the memory with them.
func TestTenantCalls_AreToldToFewAtOnce(t *testing.T) {
	t.Parallel()
	tel, _ := newTelemetry()
	tel.CountTenants()
	handler := tel.Handler()
	writes, until := make(chan struct{}), make(chan struct{})
	var reading sync.WaitGroup
	for range 4 {
		reading.Go(func() {
			answer := stuck{httptest.NewRecorder(), writes, until}
			handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/tenants", nil))
		})
		<-writes
	}
	for _, want := range []int{503, 200} {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/tenants", nil))
		if answer.Code != want {
			t.Errorf("beside others it is answered with %d, want %d", answer.Code, want)
		}
		if want == 503 {
			close(until)
			reading.Wait()
		}
	}
}
