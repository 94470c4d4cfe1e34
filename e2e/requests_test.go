package e2e_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/onceql/onceql/internal/issuer"
	"github.com/onceql/onceql/internal/pgtest"
)

// A tenant with many connections, and one with a single one, beside each other: few requests
// of the former are at work at once, and none of either is refused.
func TestTenantRequests_RefuseNobody(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	i := issuer.New(t)
	s, d := serveTo(t, i, url, "TENANT_REQUESTS=2"), connect(t, url)
	const connections, each = 64, 5
	send := func(tenant string, connections, each int) {
		header := bearer(i.Token(tenant))
		var senders sync.WaitGroup
		for c := range connections {
			senders.Go(func() {
				for n := range each {
					key := fmt.Sprint(c, " ", n)
					wantStatus(t, s.send(create(key, "Apollo"), header...), "EXECUTED")
					wantStatus(t, s.send(create(key, "Apollo"), header...), "REPLAYED")
				}
			})
		}
		senders.Wait()
	}
	var both sync.WaitGroup
	both.Go(func() { send("many", connections, each) })
	both.Go(func() { send("one", 1, connections) })
	both.Wait()
	d.wantStored(connections*(each+1), connections*(each+1))
}

// Requests that wait for their key, which is in flight, or for a row don't stop the others
// of their tenant, however few may be at work at once.
func TestTenantRequests_WhoWaitsForAKeyStopsNobody(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	i := issuer.New(t)
	s, d := serveTo(t, i, url, "TENANT_REQUESTS=2", "IDEMPOTENCY_WAIT=50s"), connect(t, url)
	slow, other := bearer(i.Token("slow")), bearer(i.Token("other"))
	first := create("subject", "Mercury")
	wantStatus(t, s.send(first, slow...), "EXECUTED")
	wantStatus(t, s.send(first, other...), "EXECUTED")
	release := d.slowTenants()

	const calls = 20
	held := startBurst(t, calls, []*server{s}, func(int) request { return create("k", "Apollo") }, slow...)
	eventually(t, "the key to be in flight", func() bool { return held.underWay() && d.slow() == 1 })
	for range 10 {
		wantStatus(t, s.send(first, other...), "REPLAYED")
		wantStatus(t, s.send(first, slow...), "REPLAYED")
		for _, field := range []string{`projects(first: 1) { nodes { id } }`, `idempotentCall(key: "subject") { key }`} {
			if a := s.send(twenty(field), slow...); a.status != 200 || len(a.Errors) > 0 {
				t.Errorf("the tenant's query: %d %s", a.status, a.raw)
			}
		}
	}
	select {
	case <-held.done:
		t.Error("the others were answered only after those that wait for the key")
	default:
	}
	release()
	wantOneExecution(t, held.wait())
	d.wantStored(3, 3)
}
