package e2e_test

import (
	"strings"
	"testing"

	"github.com/onceql/onceql/internal/pgtest"
)

func TestStart_OfSeveralServersAtOnce(t *testing.T) {
	t.Parallel()
	for range 3 {
		url := emptyDatabase(t)
		d := connect(t, url)
		env := []string{"DATABASE_URL=" + pgtest.AsRole(t, url), "MIGRATION_DATABASE_URL=" + url}
		var servers []*server
		start := func(n int) {
			t.Helper()
			servers = nil
			for range n {
				servers = append(servers, launch(t, env...))
			}
			for _, s := range servers {
				s.awaitURL()
			}
		}
		start(4) // One migrates, and all grant.
		wantOneExecution(t, sendBurst(t, 20, servers, func(int) request { return create("k", "Apollo") }))
		d.exec(`revoke all on idempotency_keys, projects, goose_db_version, schema_compatibility from onceql_tests`)
		start(4) // All grant.
		wantStatus(t, servers[0].send(create("k", "Apollo")), "REPLAYED")
		// While a server migrates, others that have nothing to do start.
		holder := connect(t, url)
		holder.exec(`select pg_advisory_lock(4097083626)`)
		start(4)
		wantStatus(t, servers[0].send(create("k", "Apollo")), "REPLAYED")
		d.wantStored(1, 1)
	}
}

func TestStart_WaitsForAServerThatMigrates(t *testing.T) {
	t.Parallel()
	url := emptyDatabase(t)
	holder := connect(t, url)
	holder.exec(`select pg_advisory_lock(4097083626)`)
	s := launch(t, "DATABASE_URL="+url)
	eventually(t, "the log to say that it waits", func() bool { return strings.Contains(s.stderr.String(), "another server migrates") })
	if n := holder.count(`select count(*) from pg_class where relname = 'goose_db_version'`); n != 0 {
		t.Error("it did not wait")
	}
	// A session that waits has no snapshot, for which this would wait.
	holder.exec(`create table other (id int)`)
	holder.exec(`create index concurrently on other (id)`)
	holder.exec(`select pg_advisory_unlock(4097083626)`)
	s.awaitURL()
	wantStatus(t, s.send(create("k", "Apollo")), "EXECUTED")
}

func TestStart_WithTheServersRoleAlone(t *testing.T) {
	t.Parallel()
	url := emptyDatabase(t)
	alone := "DATABASE_URL=" + pgtest.AsRole(t, url)
	wantCommand := func(when string) {
		t.Helper()
		if output := refused(t, alone); !strings.Contains(output, "`onceql migrate up`") || strings.Count(output, "\n") != 1 {
			t.Errorf("%s it says this, want one line with the command to run:\n%s", when, output)
		}
	}
	connect(t, url).exec(`revoke create on schema public from public`)
	wantCommand("on an empty database")
	previous.serve(t, url).stop()
	wantCommand("on the schema of the build before")
	output, err := command(t, []string{alone, "MIGRATION_DATABASE_URL=" + url}, "migrate", "up").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	s := launch(t, alone)
	s.awaitURL()
	wantStatus(t, s.send(create("k", "Apollo")), "EXECUTED")
	wantStatus(t, previous.serve(t, url).send(create("k", "Apollo")), "REPLAYED")
	// What the URL says of pools is nothing that a connection could be asked for.
	pooled := launch(t, alone+"&pool_max_conns=30&pool_max_conn_lifetime=1h")
	pooled.awaitURL()
	wantStatus(t, pooled.send(create("k", "Apollo")), "REPLAYED")
}

// What a newer build's migrations leave behind.
func TestStart_OnTheSchemaOfANewerBuild(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	serve(t, url).stop()
	d := connect(t, url)
	for name, env := range map[string][]string{
		"both roles":              {"DATABASE_URL=" + pgtest.AsRole(t, url), "MIGRATION_DATABASE_URL=" + url},
		"the server's role alone": {"DATABASE_URL=" + pgtest.AsRole(t, url)},
	} {
		d.exec(`insert into goose_db_version (version_id, is_applied) values (1002, true), (1001, true)`)
		status, err := command(t, env, "migrate", "status").CombinedOutput()
		if lines := strings.Split(strings.TrimSpace(string(status)), "\n"); err != nil || strings.Contains(string(status), "pending") ||
			len(lines) < 3 || !strings.HasPrefix(lines[len(lines)-1], "01002  of a newer build") {
			t.Errorf("%s: migrate status: %v\n%s", name, err, status)
		}
		wantRefused := func(when string) {
			t.Helper()
			output := refused(t, env...)
			if !strings.Contains(output, "of a newer build") || !strings.Contains(output, "1002") || strings.Count(output, "\n") != 1 {
				t.Errorf("%s, %s: it says this, want one line about the schema:\n%s", name, when, output)
			}
		}
		// That the first one can be lived with says nothing of the second.
		d.exec(`insert into schema_compatibility select 1001, max(version) from schema_compatibility`)
		wantRefused("undeclared")
		d.exec(`insert into schema_compatibility values (1002, 1002)`)
		wantRefused("not for this build")
		d.exec(`update schema_compatibility set oldest_build = (select max(version) from schema_compatibility where version < 1000) where version = 1002`)
		s := launch(t, env...)
		s.awaitURL()
		wantStatus(t, s.send(create("k "+name, "Apollo")), "EXECUTED")
		wantLogged(t, s, 1, "the database's schema is newer than this build")
		s.stop()
		d.exec(`delete from goose_db_version where version_id > 1000`)
		d.exec(`delete from schema_compatibility where version > 1000`)
	}
}

// A server that ends while it makes an index leaves one behind that no query uses.
func TestStart_MakesAnIndexAnewThatWasCutShort(t *testing.T) {
	t.Parallel()
	url := emptyDatabase(t)
	previous.serve(t, url).stop()
	d := connect(t, url)
	d.exec(`alter table idempotency_keys add column retained_until timestamptz not null default now()`)
	d.exec(`create index idempotency_keys_retained_until_idx on idempotency_keys (retained_until)`)
	d.exec(`update pg_index set indisvalid = false where indexrelid = 'idempotency_keys_retained_until_idx'::regclass`)
	wantStatus(t, serve(t, url).send(create("k", "Apollo")), "EXECUTED")
	if d.count(`select count(*) from pg_index where indexrelid = 'idempotency_keys_retained_until_idx'::regclass and indisvalid`) != 1 {
		t.Error("the index is not valid")
	}
}

// emptyDatabase is one that no migration has seen.
func emptyDatabase(t *testing.T) string {
	t.Helper()
	url := pgtest.URL(t)
	connect(t, url).exec(`drop schema public cascade; create schema public`)
	return url
}

// Whether the builds before can serve on it is decided with each migration.
func TestMigrations_SayWhichBuildsMayServe(t *testing.T) {
	t.Parallel()
	d := connect(t, pgtest.URL(t))
	if n := d.count(`select count(*) from goose_db_version where version_id >= 9
		and not exists (select from schema_compatibility where version = version_id and oldest_build <= version)`); n > 0 {
		t.Errorf("%d migrations have no row in schema_compatibility", n)
	}
}

func TestMigrate_UpAndStatus(t *testing.T) {
	t.Parallel()
	url := emptyDatabase(t)
	run := func(args ...string) string {
		output, err := command(t, []string{"DATABASE_URL=" + url}, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("onceql %s: %v\n%s", strings.Join(args, " "), err, output)
		}
		return string(output)
	}
	if got := run("migrate", "status"); strings.Count(got, "pending") != strings.Count(got, "\n") || !strings.Contains(got, "00001_idempotency_keys") {
		t.Errorf("status of an empty database:\n%s", got)
	}
	first := run("migrate", "up")
	if strings.Contains(first, "pending") {
		t.Errorf("up leaves something pending:\n%s", first)
	}
	if again := run("migrate", "up"); again != first || run("migrate", "status") != first {
		t.Errorf("up again:\n%s\nbefore:\n%s", again, first)
	}
	wantStatus(t, serve(t, url).send(create("k", "Apollo")), "EXECUTED")
}
