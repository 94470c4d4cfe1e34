package e2e_test

import (
	"fmt"
	"strconv"
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
