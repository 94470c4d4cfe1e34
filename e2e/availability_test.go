package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/onceql/onceql/internal/pgtest"
)

// A call waits for a database that is back in time. So nobody is refused at the
// door before the database has been away for longer than a call waits; load
// balancers learn of it at once.
func TestAdmission_RefusesOnceTheDatabaseIsAwayForLongerThanTheWait(t *testing.T) {
	t.Parallel()
	const wait = 4 * time.Second
	postgres := pgtest.NewServer(t)
	s := serve(t, postgres.URL(), "IDEMPOTENCY_WAIT="+wait.String())
	wantStatus(t, s.send(create("before", "Apollo")), "EXECUTED")

	for range 2 {
		stopped := time.Now()
		postgres.Stop(t)
		wantUnready(t, s, "the database can't be reached")
		eventually(t, "requests to be refused", func() bool {
			a := s.send(create("during", "Gemini"))
			if a.status != 503 {
				return false
			}
			if away := time.Since(stopped); away < wait {
				t.Fatalf("refused when the database was away for no longer than %s: %s", away, a.raw)
			}
			wantRetryable(t, a)
			return true
		})
		wantUnready(t, s, "the database can't be reached")

		postgres.Start(t)
		started := time.Now()
		wantReadyAgain(t, s)
		wantStatus(t, s.send(create("before", "Apollo")), "REPLAYED")
		if took := time.Since(started); took > 5*time.Second {
			t.Errorf("it took %s to notice that the database is back", took)
		}
	}
	wantLogged(t, s, 2, "the database can't be reached")
	wantLogged(t, s, 2, "the database takes writes again")
}

func TestReadiness_FailsOnAStandby(t *testing.T) {
	t.Parallel()
	postgres := pgtest.NewServer(t)
	s := serve(t, postgres.URL(), "IDEMPOTENCY_WAIT=1s")
	wantStatus(t, s.send(create("before", "Apollo")), "EXECUTED")
	postgres.StandBy(t)
	wantUnready(t, s, "the database is read-only")
	eventually(t, "requests to be refused", func() bool { return s.send(create("during", "Gemini")).status == 503 })
	postgres.Promote(t)
	wantReadyAgain(t, s)
	eventually(t, "the key to go through", func() bool { return s.send(create("during", "Gemini")).fieldStatus() != "" })
	wantStatus(t, s.send(create("during", "Gemini")), "REPLAYED")
	connect(t, postgres.URL()).wantStored(2, 2)
}

// Busy is not down: who keeps all of the queries' connections busy must not have
// everyone refused.
func TestReadiness_HoldsWhileTheQueriesAreBusy(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url), connect(t, url)
	wantStatus(t, s.send(create("k", "Apollo")), "EXECUTED")
	release := d.hold(`projects`, `access exclusive`)
	queries := startBurst(t, 30, []*server{s}, func(int) request { return request{Query: `{ projects { nodes { id } } }`} })
	eventually(t, "the queries' connections to be busy", func() bool { return d.held() == queriesOfOne && queries.underWay() })
	for range 3 {
		before := d.lastProbe()
		eventually(t, "the next probe", func() bool { return d.lastProbe().After(before) })
		if got := s.get("/readyz"); got.status != 200 {
			t.Errorf("/readyz says %d %s", got.status, got.raw)
		}
		wantStatus(t, s.send(create("k", "Apollo")), "REPLAYED")
	}
	release()
	for _, a := range queries.wait() {
		if len(a.Errors) > 0 {
			t.Errorf("a query that had to wait: %d %s", a.status, a.raw)
		}
	}
}

// lastProbe is when a server has last begun to probe the database.
func (d *database) lastProbe() time.Time {
	d.t.Helper()
	var at time.Time
	if err := d.conn.QueryRow(d.t.Context(), `select coalesce(max(query_start), 'epoch') from pg_stat_activity
		where datname = current_database() and application_name = 'onceql' and query like '%-- probe'`).Scan(&at); err != nil {
		d.t.Fatal(err)
	}
	return at
}

func wantUnready(t testing.TB, s *server, why string) {
	t.Helper()
	eventually(t, "/readyz to say that "+why, func() bool {
		a := s.get("/readyz")
		return a.status == 503 && strings.TrimSpace(a.raw) == why
	})
}

func wantReadyAgain(t testing.TB, s *server) {
	t.Helper()
	eventually(t, "/readyz to say that the database is back", func() bool { return s.get("/readyz").status == 200 })
}

// wantLogged checks how many lines of the log have the message.
func wantLogged(t testing.TB, s *server, n int, message string) {
	t.Helper()
	found := 0
	for _, line := range s.stderr.lines() {
		if strings.Contains(line, fmt.Sprintf("msg=%q", message)) {
			found++
		}
	}
	if found != n {
		t.Errorf("%d lines of the log say %q, want %d:\n%s", found, message, n, s.stderr)
	}
}
