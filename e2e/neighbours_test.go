package e2e_test

import (
	"fmt"
	"testing"

	"github.com/onceql/onceql/internal/issuer"
	"github.com/onceql/onceql/internal/pgtest"
)

// The workers for single calls of a server, and one more that is kept for tenants who
// have nothing running. One tenant has at most three quarters of the former.
const (
	singles      = 14
	singlesOfOne = 10
)

// slowTenants makes the effects of tenants with such a name wait until the function that
// it returns is called.
func (d *database) slowTenants() (release func()) {
	d.t.Helper()
	d.exec(`create function wait() returns trigger language plpgsql as $$ begin
		if new.tenant like 'slow%' then perform pg_advisory_xact_lock_shared(4712); end if;
		return new; end $$`)
	d.exec(`create trigger wait before insert or update on projects for each row execute function wait()`)
	d.exec(`select pg_advisory_lock(4712)`)
	return func() {
		d.t.Helper()
		d.exec(`select pg_advisory_unlock(4712)`)
	}
}

// slow is how many effects of slow tenants wait: for slowTenants, or for a row that one
// which does so has locked.
func (d *database) slow() int {
	d.t.Helper()
	return d.count(`select count(*) from pg_stat_activity
		where datname = current_database() and application_name = 'onceql' and wait_event_type = 'Lock'`)
}

// The effects of one tenant take for ever, in every place that it can get. Nothing of
// another tenant is refused or waits for them.
func TestSlowTenant_HoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	i := issuer.New(t)
	s, d := serveTo(t, i, url), connect(t, url)
	slow, other := bearer(i.Token("slow")), bearer(i.Token("other"))
	slowSubject := s.send(create("subject", "Mercury"), slow...).project().ID
	subject := s.send(create("subject", "Mercury"), other...).project().ID
	release := d.slowTenants()

	const calls = 300
	held := startBurst(t, calls, []*server{s}, func(n int) request {
		if n%3 == 0 {
			return create(fmt.Sprint("slow ", n), "Apollo")
		}
		return rename(fmt.Sprint("slow ", n), slowSubject, "Gemini")
	}, slow...)
	eventually(t, "the slow tenant to have every place that it can get", func() bool { return held.underWay() && d.slow() >= singlesOfOne })
	for n := range 100 {
		key, name := fmt.Sprint("other ", n), fmt.Sprint("Gemini ", n)
		wantStatus(t, s.send(rename(key, subject, name), other...), "EXECUTED")
		wantStatus(t, s.send(rename(key, subject, name), other...), "REPLAYED")
		wantStatus(t, s.send(create("created "+key, name), other...), "EXECUTED")
	}
	if n := d.slow(); n < singlesOfOne {
		t.Errorf("%d effects of the slow tenant wait, want at least %d", n, singlesOfOne)
	}
	select {
	case <-held.done:
		t.Error("the slow tenant was answered")
	default:
	}
	release()
	for _, a := range held.wait() {
		wantStatus(t, a, "EXECUTED")
	}
	d.wantStored(1+calls/3+1+100, 1+calls+1+200)
}

func TestReplay_OfAnUpdateIsAnsweredWhileAllWorkersAreHeld(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	i := issuer.New(t)
	s, d := serveTo(t, i, url), connect(t, url)
	const tenants = 2 * singles
	type tenant struct {
		header []string
		rename request
	}
	several := make([]tenant, tenants)
	for n := range several {
		several[n].header = bearer(i.Token(fmt.Sprint("slow ", n)))
		id := s.send(create("subject", "Mercury"), several[n].header...).project().ID
		several[n].rename = rename("k", id, "Gemini")
		wantStatus(t, s.send(several[n].rename, several[n].header...), "EXECUTED")
	}
	release := d.slowTenants()
	var held []*burst
	for _, tenant := range several {
		id := tenant.rename.Variables["input"].(map[string]any)["id"].(string)
		held = append(held, startBurst(t, 3, []*server{s}, func(n int) request { return rename(fmt.Sprint("slow ", n), id, "Apollo") }, tenant.header...))
	}
	eventually(t, "all workers to be held", func() bool { return d.slow() == singles+1 })
	for _, tenant := range several {
		wantStatus(t, s.send(tenant.rename, tenant.header...), "REPLAYED")
	}
	if n := d.slow(); n != singles+1 {
		t.Errorf("%d effects wait, want one in each of the %d workers", n, singles+1)
	}
	release()
	for _, calls := range held {
		for _, a := range calls.wait() {
			wantStatus(t, a, "EXECUTED")
		}
	}
	d.wantStored(tenants, 5*tenants)
}
