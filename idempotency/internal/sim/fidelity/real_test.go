package fidelity_test

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/idempotency/internal/sim"
	"github.com/onceql/onceql/internal/pgtest"
)

// A postgres is a real server.
type postgres struct {
	url     string
	version string
	control *pgx.Conn
}

func newPostgres(t testing.TB, version string) *postgres {
	t.Helper()
	s := pgtest.NewVersion(t, version)
	control, err := pgx.Connect(t.Context(), s.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = control.Close(context.Background()) })
	p := &postgres{url: pgtest.AsRole(t, s.URL()), control: control}
	// Without what a distribution adds: 15.13 (Debian 15.13-0+deb12u1).
	err = control.QueryRow(t.Context(), `select split_part(current_setting('server_version'), ' ', 1)`).Scan(&p.version)
	if err != nil {
		t.Fatal(err)
	}
	p.exec(t, sim.Schema+`; grant all on idempotency_keys, effects, counters, owners, marks to public`)
	// Who waits finds a deadlock before the next step.
	p.exec(t, `alter database postgres set deadlock_timeout = '2ms'`)
	return p
}

func (p *postgres) exec(t testing.TB, sql string) {
	t.Helper()
	if _, err := p.control.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// history runs a history on the server as it was before any other.
func (p *postgres) history(t testing.TB, seed uint64) []string {
	t.Helper()
	p.awaitNobody(t)
	p.exec(t, `truncate idempotency_keys, effects, counters, owners, marks restart identity`)
	p.exec(t, `insert into counters select id, 0 from generate_series(1, 9) id`)
	return record(t, seed, p)
}

// awaitNobody waits until the sessions of the history before are gone, with their locks.
func (p *postgres) awaitNobody(t testing.TB) {
	t.Helper()
	for {
		var n int
		err := p.control.QueryRow(t.Context(), `
			select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return
		}
	}
}

func (p *postgres) config(t testing.TB, _ string) *pgxpool.Config {
	t.Helper()
	config, err := pgxpool.ParseConfig(p.url + "&target_session_attrs=read-write") // As the simulated one.
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// settle asks the server who waits for whom, until all that wait for the server do so
// because of those that don't.
func (p *postgres) settle(t testing.TB, sessions []*session) {
	t.Helper()
	var before map[int64][]int64
	for deadline := time.Now().Add(time.Minute); ; {
		// What goes on by itself, in a moment: no connection yet, canceled.
		restless := false
		// Whose lock_timeout is short, of the processes that serve the sessions.
		short, waits := make(map[int64]bool), make(map[int64]bool)
		for _, s := range sessions {
			if s.waits() {
				select {
				case <-s.news:
				case <-time.After(time.Millisecond):
				}
			}
			open, closed := s.connections()
			for _, w := range closed {
				short[int64(w.pid)] = w.short
			}
			if s.waits() {
				if restless = restless || s.canceled || len(open) == 0; len(open) > 0 {
					pid := int64(open[len(open)-1].pid)
					short[pid], waits[pid] = s.short, true
				}
			}
		}
		if len(short) == 0 && !restless {
			return
		}
		blocked := p.blocked(t, short)
		for _, s := range sessions {
			s.forget(func(w *wire) bool { return w.closed && blocked[int64(w.pid)] == nil })
		}
		for pid := range waits {
			restless = restless || blocked[pid] == nil
		}
		for _, by := range blocked {
			restless = restless || len(by) == 0
		}
		if !restless && rooted(blocked) && maps.EqualFunc(before, blocked, slices.Equal) {
			return
		}
		before = blocked
		if time.Now().After(deadline) {
			t.Fatalf("the sessions do not come to rest: %v wait, blocked %v", waits, blocked)
		}
	}
}

// blocked returns by whom each of the processes is blocked for long: by nobody, if it
// runs. Those that are gone are left out.
func (p *postgres) blocked(t testing.TB, short map[int64]bool) map[int64][]int64 {
	t.Helper()
	rows, err := p.control.Query(t.Context(), `
		select pid::int8, pg_blocking_pids(pid)::int8[]
		from pg_stat_activity where pid = any($1)`, slices.Collect(maps.Keys(short)))
	if err != nil {
		t.Fatal(err)
	}
	blocked := make(map[int64][]int64)
	var pid int64
	var by []int64
	_, err = pgx.ForEachRow(rows, []any{&pid, &by}, func() error {
		if short[pid] { // It will give up.
			by = nil
		}
		blocked[pid] = append([]int64{}, by...)
		return nil
	})
	if err != nil {
		t.Fatalf("asking who waits: %v", err)
	}
	return blocked
}

// rooted says whether nobody waits for itself by way of others: the server ends such a
// deadlock soon.
func rooted(blocked map[int64][]int64) bool {
	left := maps.Clone(blocked)
	for {
		n := len(left)
		maps.DeleteFunc(left, func(_ int64, by []int64) bool {
			return !slices.ContainsFunc(by, func(other int64) bool { _, waits := left[other]; return waits })
		})
		if len(left) == n {
			return n == 0
		}
	}
}
