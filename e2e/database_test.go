package e2e_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/internal/pgtest"
)

// The tests' PostgreSQL need not survive a crash of its machine.
func TestStart_WarnsOfADatabaseThatLosesCommits(t *testing.T) {
	t.Parallel()
	s := serve(t, pgtest.URL(t))
	eventually(t, "the log to warn of fsync that is off", func() bool {
		return strings.Contains(s.stderr.String(), losesCommits) && strings.Contains(s.stderr.String(), "off=[fsync")
	})
}

const losesCommits = "a crash of the database's machine may lose keys"

// The commands are those of the docs, but for the address.
func TestOperations_WhatIsRestoredReplaysAndWhatIsLostExecutes(t *testing.T) {
	t.Parallel()
	source := pgtest.URL(t)
	s := serve(t, source)
	kept := s.send(create("kept", "Apollo"))
	wantStatus(t, kept, "EXECUTED")
	address, err := url.Parse(source)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(address.Path, "/")
	server := address.Scheme + "://" + address.User.String() + "@" + address.Host + "/"
	shell := func(script string) *exec.Cmd {
		script = strings.NewReplacer("postgres://postgres:…@db.example.com/onceql", server+name,
			"postgres://postgres:…@db.example.com/", server, "restored", name+"_restored").Replace(script)
		cmd := inShell(t, script)
		cmd.Dir = t.TempDir()
		return cmd
	}
	commands := strings.Split(blockOf(t, "operations/database.md", "sh", "pg_dump"), "\n")
	dir := t.TempDir()
	for i, command := range commands {
		cmd := shell(command)
		cmd.Dir = dir
		if output, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, output)
		}
		if i == 0 { // What comes after the dump is not in it.
			wantStatus(t, s.send(create("lost", "Gemini")), "EXECUTED")
		}
	}
	restored := server + name + "_restored" + "?" + address.RawQuery
	admin := connect(t, source)
	t.Cleanup(func() {
		drop := `drop database ` + pgx.Identifier{name + "_restored"}.Sanitize() + ` with (force)`
		if _, err := admin.conn.Exec(context.WithoutCancel(t.Context()), drop); err != nil {
			t.Error(err)
		}
	})
	next, d := serve(t, restored), connect(t, restored)
	replayed := next.send(create("kept", "Apollo"))
	wantStatus(t, replayed, "REPLAYED")
	if diff := cmp.Diff(kept.project(), replayed.project()); diff != "" {
		t.Errorf("the replay differs:\n%s", diff)
	}
	wantStatus(t, next.send(create("lost", "Gemini")), "EXECUTED")
	wantCode(t, next.send(create("kept", "Mercury")), "IDEMPOTENCY_KEY_REUSED")
	d.wantStored(2, 2)

	// Row-level security does not let it dump a part without a word.
	cmd := shell("pg_dump -f part.dump '" + pgtest.AsRole(t, source) + "' 2>&1")
	output, err := cmd.CombinedOutput()
	if err == nil {
		t.Errorf("the server's role dumps the tables: %s", output)
	}
	if text, _ := os.ReadFile(filepath.Join(cmd.Dir, "part.dump")); strings.Contains(string(text), "Apollo") {
		t.Error("the server's role dumped another's rows")
	}
}

func TestOperations_StatementsOnTheDatabaseRunWhileCallsGoOn(t *testing.T) {
	t.Parallel()
	source := pgtest.URL(t)
	s, d := serve(t, source), connect(t, source)
	load := startBurst(t, 100, []*server{s}, func(i int) request { return create(fmt.Sprint(i), "Apollo") })
	statements := blocksOf(t, "operations/database.md", "sql")
	if len(statements) < 6 {
		t.Fatalf("the page has %d statements", len(statements))
	}
	for _, statement := range statements {
		d.exec(strings.TrimSuffix(statement, ";"))
	}
	for _, a := range load.wait() {
		wantStatus(t, a, "EXECUTED")
	}
	d.wantStored(100, 100)
	if n := d.count(`select count(*) from pg_index where indrelid = 'idempotency_keys'::regclass and not indisvalid`); n != 0 {
		t.Errorf("%d indexes are not valid", n)
	}
}

// An old snapshot keeps what is purged on the disk. It keeps no purge and no call.
func TestOperations_AnOldSnapshotIsFoundAndHoldsNoCall(t *testing.T) {
	t.Parallel()
	source := pgtest.URL(t)
	s, d := serve(t, source), connect(t, source)
	const stored = 2000
	d.exec(`insert into idempotency_keys (scope, key, operation, request_hash, hash_version, response_json, execution_id, created_at, expires_at, retained_until)
		select '', 'old ' || n, 'createProject', sha256(n::text::bytea), 1, '{}', gen_random_uuid(), now() - interval '80 h', now() - interval '56 h', now() - interval '8 h'
		from generate_series(1, $1::int) as n`, stored)
	holder := connect(t, source)
	holder.exec(`begin isolation level repeatable read`)
	if n := holder.count(`select count(*) from idempotency_keys`); n != stored {
		t.Fatalf("%d keys", n)
	}
	pid := holder.count(`select pg_backend_pid()`)
	purge(t, source, stored)
	d.exec(`vacuum idempotency_keys`)
	size := d.count(`select pg_relation_size('idempotency_keys')`)
	found := blockOf(t, "operations/database.md", "sql", "pg_prepared_xacts")
	if n := d.count(`select count(*) from (`+strings.TrimSuffix(found, ";")+`) as held where what = 'session' and name = $1::int::text`, pid); n != 1 {
		t.Errorf("the statement finds the session %d times", n)
	}
	wantStatus(t, s.send(create("old 1", "Apollo")), "EXECUTED")
	wantStatus(t, s.send(create("old 1", "Apollo")), "REPLAYED")
	holder.exec(`rollback`)
	eventually(t, "vacuum to give the space back", func() bool {
		// Others on this server have snapshots of their own for a moment, but not of this database.
		d.exec(`vacuum idempotency_keys`)
		return d.count(`select pg_relation_size('idempotency_keys')`) < size/2 ||
			d.count(`select n_dead_tup from pg_stat_user_tables where relname = 'idempotency_keys'`) == 0
	})
}
