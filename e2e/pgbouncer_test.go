package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/internal/issuer"
	"github.com/onceql/onceql/internal/pgtest"
)

// serveThrough starts a server behind the pooler; its migrations go to the database itself.
func serveThrough(t testing.TB, b *pgtest.Bouncer, url, parameters string, env ...string) *server {
	t.Helper()
	return serve(t, url, append([]string{"DATABASE_URL=" + b.URL(t, pgtest.AsRole(t, url)) + parameters}, env...)...)
}

// Thirty connections of the server's share four of the database's, so that hardly two
// transactions of one have the same session.
func TestPgbouncer_InTransactionModeChangesNothing(t *testing.T) {
	t.Parallel()
	for name, setting := range map[string]string{"as it comes": "", "with sessions reset": "server_reset_query_always = 1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.URL(t)
			b := pgtest.NewBouncer(t, url, "default_pool_size = 4", setting)
			i := issuer.New(t)
			s := serveThrough(t, b, url, "", "AUTH_ISSUER="+i.URL, "AUTH_AUDIENCE="+issuer.Audience)
			d := connect(t, url)
			const calls = 60
			tenants := map[string][]string{"acme": bearer(i.Token("acme")), "globex": bearer(i.Token("globex"))}
			var working sync.WaitGroup
			for tenant, header := range tenants {
				for call := range calls {
					working.Go(func() { exercise(t, s, tenant, fmt.Sprint("key ", call), header) })
				}
			}
			working.Wait()
			d.wantStored(2*calls, 4*calls)
			log := s.stderr.String()
			if !strings.Contains(log, "a pooler is in front of the database") {
				t.Error("the log does not tell of the pooler")
			}
			for _, never := range []string{"msg=retried", "level=ERROR", "42P05", "26000"} {
				if strings.Contains(log, never) {
					t.Errorf("the log has %s:\n%s", never, log)
				}
			}
			if n := d.count(`select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())`); n != 0 {
				t.Errorf("%d locks outlived their transactions", n)
			}
			keepsNothing(t, b.URL(t, pgtest.AsRole(t, url)), 4)
			maintains(t, d, b.URL(t, pgtest.AsRole(t, url)), 4*calls)
		})
	}
}

// exercise makes a project, renames it, repeats both and reads.
func exercise(t testing.TB, s *server, tenant, key string, header []string) {
	t.Helper()
	made := s.send(create(key, tenant), header...)
	wantStatus(t, made, "EXECUTED")
	id := made.project().ID
	wantStatus(t, s.send(rename("renaming "+key, id, tenant+" 2"), header...), "EXECUTED")
	again := s.send(create(key, tenant), header...)
	wantStatus(t, again, "REPLAYED")
	if diff := cmp.Diff(made.project(), again.project()); diff != "" {
		t.Errorf("the replay differs:\n%s", diff)
	}
	wantStatus(t, s.send(rename("renaming "+key, id, tenant+" 2"), header...), "REPLAYED")
	read := s.send(request{Query: `{ idempotentCall(key: "` + key + `") { key } project(id: "` + id + `") { name } projects(first: 100) { nodes { name } } }`}, header...)
	if !strings.Contains(read.raw, `"idempotentCall":{"key":"`+key+`"}`) || !strings.Contains(read.raw, `"project":{"name":"`+tenant+` 2"}`) {
		t.Errorf("%s reads %s", tenant, read.raw)
	}
	for _, other := range []string{"acme", "globex"} {
		if other != tenant && strings.Contains(read.raw, other) {
			t.Errorf("%s reads what is another's: %s", tenant, read.raw)
		}
	}
}

// keepsNothing looks at all of the pooler's sessions at once.
func keepsNothing(t testing.TB, through string, sessions int) {
	t.Helper()
	seen := map[int]bool{}
	for range sessions {
		conn, err := pgx.Connect(t.Context(), through+"&default_query_exec_mode=exec")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.WithoutCancel(t.Context()))
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
		var pid, prepared, keys, temporary int
		var tenants, path, limit string
		err = tx.QueryRow(t.Context(), `select pg_backend_pid(), (select count(*) from pg_prepared_statements where name <> ''),
			(select count(*) from idempotency_keys), (select count(*) from pg_class where relpersistence = 't'),
			coalesce(current_setting('onceql.tenants', true), ''), current_setting('search_path'), current_setting('statement_timeout')`).
			Scan(&pid, &prepared, &keys, &temporary, &tenants, &path, &limit)
		if err != nil {
			t.Fatal(err)
		}
		seen[pid] = true
		if prepared+keys+temporary != 0 || tenants != "" || path != `"$user", public` || limit != "0" {
			t.Errorf("a session keeps %d statements, %d visible keys, %d temporary tables, tenants %q, search_path %s, statement_timeout %s",
				prepared, keys, temporary, tenants, path, limit)
		}
	}
	if len(seen) != sessions {
		t.Errorf("%d sessions, want %d", len(seen), sessions)
	}
}

// maintains looks up, forgets and purges as an importer's program might.
func maintains(t testing.TB, d *database, through string, keys int) {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), through+"&default_query_exec_mode=exec")
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	engine := idempotency.New(pool, idempotency.Config{PurgeEvery: -1})
	defer func() { _ = engine.Close(context.WithoutCancel(t.Context())) }()
	if err := engine.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if _, found, err := engine.Lookup(t.Context(), "acme", "key 0"); err != nil || !found {
		t.Errorf("looking up: %t, %v", found, err)
	}
	if there, err := engine.Forget(t.Context(), "acme", "key 0"); err != nil || !there {
		t.Errorf("forgetting: %t, %v", there, err)
	}
	d.exec(`update idempotency_keys set expires_at = now() - interval '1 s', retained_until = now() - interval '1 s'`)
	purge(t, through+"&default_query_exec_mode=exec", keys-1)
}

// purge removes the keys whose retention is over, of which there are so many.
func purge(t testing.TB, url string, want int) {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	engine := idempotency.New(pool, idempotency.Config{PurgeEvery: -1})
	defer func() { _ = engine.Close(context.WithoutCancel(t.Context())) }()
	if removed, err := engine.Purge(t.Context()); err != nil || removed != int64(want) {
		t.Errorf("the purge removed %d, want %d: %v", removed, want, err)
	}
}

// Statements that are prepared where the pooler does not carry them are taken away from
// calls at any moment. The calls are tried again.
func TestPgbouncer_StatementsThatAreTakenAwayLoseNoCall(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	b := pgtest.NewBouncer(t, url, "default_pool_size = 4")
	s, d := serveThrough(t, b, url, "&default_query_exec_mode=cache_statement"), connect(t, url)
	const calls = 40
	answers := sendBurst(t, calls, []*server{s}, func(i int) request { return create(fmt.Sprint(i), "Apollo") })
	id := answers[0].project().ID
	answers = append(answers, sendBurst(t, calls, []*server{s}, func(i int) request { return rename(fmt.Sprint("r", i), id, fmt.Sprint("Gemini ", i)) })...)
	for _, a := range answers {
		wantStatus(t, a, "EXECUTED")
	}
	d.wantStored(calls, 2*calls)
	if n := d.count(`select max(version) from projects`); n != 1+calls {
		t.Errorf("the project has version %d, want %d", n, 1+calls)
	}
	if log := s.stderr.String(); !strings.Contains(log, "42P05") && !strings.Contains(log, "26000") {
		t.Error("no statement was taken away")
	}
}

func TestPgbouncer_KilledUnderLoad(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	b := pgtest.NewBouncer(t, url, "default_pool_size = 8")
	s, d := serveThrough(t, b, url, ""), connect(t, url)
	const callers, calls = 16, 25
	var answered atomic.Int64
	var working sync.WaitGroup
	for caller := range callers {
		working.Go(func() {
			for call := range calls {
				name := fmt.Sprint(caller, " ", call)
				var a answer
				eventually(t, "a call to be answered", func() bool {
					a = s.send(create(name, name))
					if a.fieldStatus() == "" {
						wantRetryable(t, a)
					}
					return a.fieldStatus() != ""
				})
				answered.Add(1)
				if a.project().Name != name {
					t.Errorf("%s is answered with %s", name, a.raw)
				}
			}
		})
	}
	for kill := range int64(3) {
		eventually(t, "the load to go on", func() bool { return answered.Load() > (kill+1)*callers*calls/5 })
		b.Kill(t)
		b.Start(t)
	}
	working.Wait()
	d.wantStored(callers*calls, callers*calls)
	if n := d.count(`select count(distinct name) from projects`); n != callers*calls {
		t.Errorf("%d names, want %d: a call took effect twice", n, callers*calls)
	}
	eventually(t, "the server to be ready", func() bool { return s.get("/readyz").status == 200 })
}

func TestPgbouncer_WhoseSessionsANeighbourTook(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	b := pgtest.NewBouncer(t, url, "default_pool_size = 2", "query_wait_timeout = 1")
	s, d := serveThrough(t, b, url, "", "IDEMPOTENCY_WAIT=3s"), connect(t, url)
	wantStatus(t, s.send(create("before", "Apollo")), "EXECUTED")
	neighbour := b.URL(t, pgtest.AsRole(t, url)) + "&default_query_exec_mode=exec"
	var holding []*database
	eventually(t, "the neighbour to take all sessions", func() bool {
		conn, err := pgx.Connect(t.Context(), neighbour)
		if err != nil {
			return false
		}
		t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
		if _, err := conn.Exec(t.Context(), `begin`); err != nil {
			return false
		}
		holding = append(holding, &database{t, neighbour, conn})
		return len(holding) == 2
	})
	wantRetryable(t, s.send(create("during", "Gemini")))
	eventually(t, "/readyz to say that the database can't be reached", func() bool { return s.get("/readyz").status == 503 })
	for _, h := range holding {
		h.exec(`rollback`)
	}
	eventually(t, "the same key to go through", func() bool {
		a := s.send(create("during", "Gemini"))
		if a.fieldStatus() == "" {
			wantRetryable(t, a)
		}
		return a.project().Name == "Gemini"
	})
	eventually(t, "the server to be ready", func() bool { return s.get("/readyz").status == 200 })
	d.wantStored(2, 2)
}

// Goose's lock is a session's. Taken through a pooler it would stay in a session that
// somebody else has next.
func TestPgbouncer_MigratesNothingInTransactionMode(t *testing.T) {
	t.Parallel()
	url := emptyDatabase(t)
	d := connect(t, url)
	b := pgtest.NewBouncer(t, url, "default_pool_size = 4")
	s := launch(t, "DATABASE_URL="+b.URL(t, url))
	if code := s.wait(); code != 1 || !strings.Contains(s.stderr.String(), "MIGRATION_DATABASE_URL has to lead to PostgreSQL itself") {
		t.Errorf("the server ended with %d:\n%s", code, s.stderr)
	}
	if n := d.count(`select count(*) from pg_class where relname in ('goose_db_version', 'idempotency_keys')`); n != 0 {
		t.Errorf("%d tables were made", n)
	}
	if n := d.count(`select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())`); n != 0 {
		t.Errorf("%d locks were left", n)
	}

	keeping := pgtest.NewBouncer(t, url, "pool_mode = session")
	s = launch(t, "DATABASE_URL="+keeping.URL(t, url))
	s.awaitURL()
	wantStatus(t, s.send(create("k", "Apollo")), "EXECUTED")
}

// Two poolers of one primary: the order of hosts decides, as long as the first one answers.
func TestPgbouncer_OfWhichThereAreTwo(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	first, second := pgtest.NewBouncer(t, url), pgtest.NewBouncer(t, url)
	both := strings.Replace(first.URL(t, pgtest.AsRole(t, url)), first.Host(), first.Host()+","+second.Host(), 1)
	s, d := serve(t, url, "DATABASE_URL="+both), connect(t, url)
	const calls = 20
	for round, kill := range []*pgtest.Bouncer{nil, first, second} {
		if kill != nil {
			kill.Kill(t)
		}
		for _, a := range sendBurst(t, calls, []*server{s}, func(i int) request { return create(fmt.Sprint(round, " ", i), "Apollo") }) {
			wantStatus(t, a, "EXECUTED")
		}
		if kill != nil {
			kill.Start(t)
		}
	}
	d.wantStored(3*calls, 3*calls)
}
