package e2e_test

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/onceql/onceql/internal/issuer"
	"github.com/onceql/onceql/internal/pgtest"
)

func TestRate_IsEachTenantsOwn(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	i := issuer.New(t)
	s, d := serveTo(t, i, url, "TENANT_RATE=0.001", "TENANT_BURST=3"), connect(t, url)
	for _, tenant := range []string{"acme", "globex"} {
		header := bearer(i.Token(tenant))
		for n := range 3 {
			wantStatus(t, s.send(create(fmt.Sprint(n), "Apollo"), header...), "EXECUTED")
		}
		for range 3 {
			a := s.send(create("beyond", "Apollo"), header...)
			seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
			if a.status != 429 || a.header.Get("Content-Type") != "text/plain; charset=utf-8" || err != nil || seconds < 1 || seconds > 1000 {
				t.Errorf("a request beyond the rate: %d %v %s", a.status, a.header, a.raw)
			}
		}
	}
	if a := s.send(create("k", "Apollo"), bearer("forged")...); a.status != 401 {
		t.Errorf("without a token that is accepted: %d %s", a.status, a.raw)
	}
	if a := s.get("/readyz"); a.status != 200 {
		t.Errorf("/readyz says %d %s", a.status, a.raw)
	}
	d.wantStored(6, 6)
}

// Whoever sends again as soon as it is refused is refused no more often than it is let
// through, on all of its connections together.
func TestRate_IsNoReasonToAskOverAndOver(t *testing.T) {
	t.Parallel()
	i := issuer.New(t)
	s := serveTo(t, i, pgtest.URL(t), withMetrics, "TENANT_RATE=20", "TENANT_BURST=1")
	header := bearer(i.Token("acme"))
	const connections, enough = 16, 20
	var allowed, refused atomic.Int64
	var sending sync.WaitGroup
	for range connections {
		sending.Go(func() {
			for allowed.Load() < enough {
				switch a := s.send(create("k", "Apollo"), header...); a.status {
				case 200:
					allowed.Add(1)
				case 429:
					refused.Add(1)
				default:
					t.Errorf("%d %s", a.status, a.raw)
				}
			}
		})
	}
	sending.Wait()
	if n := refused.Load(); n < connections/2 || n > 2*(enough+connections) {
		t.Errorf("%d requests were let through and %d refused", allowed.Load(), n)
	}
	wantMetric(t, s, "onceql_refused_total", "tenant_rate", float64(refused.Load()))
}

func TestRate_AnswersWhatItHoldsWhenTheServerDrains(t *testing.T) {
	t.Parallel()
	i := issuer.New(t)
	s := serveTo(t, i, pgtest.URL(t), withMetrics, "TENANT_RATE=0.001", "TENANT_BURST=1")
	header := bearer(i.Token("acme"))
	wantStatus(t, s.send(create("k", "Apollo"), header...), "EXECUTED")
	refused := startBurst(t, 50, []*server{s}, func(int) request { return create("k", "Apollo") }, header...)
	eventually(t, "all to be refused", func() bool { return s.metric("onceql_refused_total", "tenant_rate") == 50 })
	s.terminate()
	for _, a := range refused.wait() {
		if a.status != 429 || a.header.Get("Retry-After") == "" {
			t.Errorf("%d %v %s", a.status, a.header, a.raw)
		}
	}
	if code := s.wait(); code != 0 {
		t.Errorf("exit code %d, want 0:\n%s", code, s.stderr)
	}
}

// What is stored replays, whatever the quota. Nothing more executes, and nothing of it runs.
func TestQuota_IsEachTenantsOwn(t *testing.T) {
	t.Parallel()
	for limit, env := range map[string]string{"keys": "TENANT_KEYS=3", "bytes": "TENANT_BYTES=450"} {
		t.Run(limit, func(t *testing.T) {
			t.Parallel()
			url := pgtest.URL(t)
			i := issuer.New(t)
			s, d := serveTo(t, i, url, env), connect(t, url)
			for _, tenant := range []string{"acme", "globex"} {
				header := bearer(i.Token(tenant))
				id := s.send(create("0", "Apollo"), header...).project().ID
				wantStatus(t, s.send(rename("1", id, "Gemini"), header...), "EXECUTED")
				wantStatus(t, s.send(create("2", "Mercury"), header...), "EXECUTED")
				for _, r := range []request{create("3", "Vostok"), rename("3", id, "Vostok")} {
					if a := s.send(r, header...); a.code() != "LIMIT_EXCEEDED" || a.failure().Limit != limit || a.failure().Retryable {
						t.Errorf("beyond the quota: %d %s", a.status, a.raw)
					}
				}
				wantStatus(t, s.send(create("2", "Mercury"), header...), "REPLAYED")
				wantStatus(t, s.send(rename("1", id, "Gemini"), header...), "REPLAYED")
				wantCode(t, s.send(create("2", "Other"), header...), "IDEMPOTENCY_KEY_REUSED")
			}
			d.wantStored(4, 6)
			// Another server counts what this one stored, and this one what is gone.
			other := serveTo(t, i, url, env)
			header := bearer(i.Token("acme"))
			if a := other.send(create("3", "Vostok"), header...); a.failure().Limit != limit {
				t.Errorf("another server: %d %s", a.status, a.raw)
			}
			d.exec(`delete from idempotency_keys where scope = 'acme' and key = '0'`)
			eventually(t, "room to be noticed", func() bool { return s.send(create("4", "Vostok"), header...).fieldStatus() != "" })
			wantStatus(t, s.send(create("4", "Vostok"), header...), "REPLAYED")
		})
	}
}
