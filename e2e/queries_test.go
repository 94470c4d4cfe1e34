package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/onceql/onceql/internal/issuer"
	"github.com/onceql/onceql/internal/pgtest"
)

// queriesOfOne is how many connections for queries one tenant has at most: three of four.
const queriesOfOne = 6

// slowQueries makes each query of tenants with such a name, on projects and on keys, wait
// until the function that it returns is called.
func (d *database) slowQueries() (release func()) {
	d.t.Helper()
	d.exec(`create function wait_to_read(tenant text) returns boolean language plpgsql as $$ begin
		if tenant like 'slow%' and current_setting('statement_timeout') <> '0' then perform pg_advisory_xact_lock_shared(4712); end if;
		return true; end $$`)
	d.exec(`create policy slow on projects as restrictive for select using (wait_to_read(tenant))`)
	d.exec(`create policy slow on idempotency_keys as restrictive for select using (wait_to_read(scope))`)
	d.exec(`select pg_advisory_lock(4712)`)
	return func() {
		d.t.Helper()
		d.exec(`select pg_advisory_unlock(4712)`)
	}
}

// twenty asks for the field twenty times.
func twenty(field string) request {
	var document strings.Builder
	for i := range 20 {
		fmt.Fprintf(&document, " a%d: %s", i, field)
	}
	return request{Query: "{" + document.String() + " }"}
}

// The queries of one tenant take for ever, on every connection that it can get, with more
// of them waiting than a server lets wait. Of another tenant nothing is refused or waits.
func TestSlowQueries_HoldUpNobodyElse(t *testing.T) {
	t.Parallel()
	for what, field := range map[string]string{
		"pages":    `projects(first: 1) { nodes { id } }`,
		"look-ups": `idempotentCall(key: "subject") { key }`,
		"calls":    `idempotentCalls(first: 1) { nodes { key } }`,
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			url := pgtest.URL(t)
			i := issuer.New(t)
			s, d := serveTo(t, i, url, "QUERY_QUEUE=400", "QUERY_TIMEOUT=50s"), connect(t, url)
			slow, other := bearer(i.Sign(i.Claims("slow", issuer.AllScopes))), bearer(i.Token("other"))
			wantStatus(t, s.send(create("subject", "Mercury"), slow...), "EXECUTED")
			subject := s.send(create("subject", "Mercury"), other...).project().ID
			release := d.slowQueries()

			const requests = 20
			held := startBurst(t, requests, []*server{s}, func(int) request { return twenty(field) }, slow...)
			eventually(t, "the slow tenant to have every connection that it can get", func() bool {
				return held.underWay() && d.slow() == queriesOfOne
			})
			for n := range 30 {
				key, name := fmt.Sprint("other ", n), fmt.Sprint("Gemini ", n)
				wantStatus(t, s.send(rename(key, subject, name), other...), "EXECUTED")
				wantStatus(t, s.send(create("created "+key, name), other...), "EXECUTED")
				for _, r := range []request{twenty(`projects(first: 1) { nodes { id } }`), twenty(`idempotentCall(key: "subject") { key }`)} {
					if a := s.send(r, other...); a.status != 200 || len(a.Errors) > 0 {
						t.Errorf("another tenant's query: %d %s", a.status, a.raw)
					}
				}
				if a := s.get("/readyz"); a.status != 200 {
					t.Errorf("/readyz says %d %s", a.status, a.raw)
				}
			}
			if n := d.slow(); n != queriesOfOne {
				t.Errorf("%d queries of the slow tenant wait in the database, want %d", n, queriesOfOne)
			}
			release()
			refused := 0
			for _, a := range held.wait() {
				for _, failure := range a.Errors {
					if e := failure.Extensions; e.Code != "UNAVAILABLE" || !e.Retryable || e.RetryAfterMs == 0 {
						t.Errorf("a query that did not begin: %+v", e)
					}
					refused++
				}
			}
			if want := requests*20 - queriesOfOne - 400/4; refused != want {
				t.Errorf("%d queries of the slow tenant were refused, want %d", refused, want)
			}
		})
	}
}

func TestSlowQueries_AreEnded(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	i := issuer.New(t)
	s, d := serveTo(t, i, url, "QUERY_TIMEOUT=200ms"), connect(t, url)
	slow := bearer(i.Sign(i.Claims("slow", issuer.AllScopes)))
	wantStatus(t, s.send(create("k", "Apollo"), slow...), "EXECUTED")
	release := d.slowQueries()
	for _, field := range []string{`projects { nodes { id } }`, `idempotentCall(key: "k") { key }`, `idempotentCalls { nodes { key } }`} {
		for _, a := range startBurst(t, 20, []*server{s}, func(int) request { return request{Query: "{" + field + "}"} }, slow...).wait() {
			if e := a.failure(); a.status != 200 || e.Code != "LIMIT_EXCEEDED" || e.Limit != "queryTime" || e.Retryable {
				t.Errorf("a query that took too long: %d %s", a.status, a.raw)
			}
		}
		if n := d.slow(); n != 0 {
			t.Errorf("%d queries go on", n)
		}
	}
	release()
	for _, field := range []string{`projects { nodes { id } }`, `idempotentCall(key: "k") { key }`, `idempotentCalls { nodes { key } }`} {
		if a := s.send(request{Query: "{" + field + "}"}, slow...); len(a.Errors) > 0 || strings.Contains(a.raw, "null") {
			t.Errorf("once queries are fast again: %s", a.raw)
		}
	}
}
