package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/internal/issuer"
	"github.com/onceql/onceql/internal/operator"
	"github.com/onceql/onceql/internal/pgtest"
)

// An operators is somebody with the program and an environment.
type operators struct {
	t   testing.TB
	env []string
}

func operate(t testing.TB, env ...string) operators {
	t.Helper()
	return operators{t, env}
}

// ends runs `onceql key` and checks how it ends.
func (o operators) ends(code int, args ...string) (stdout, stderr string) {
	o.t.Helper()
	return o.endsWith(code, "", args...)
}

func (o operators) endsWith(code int, stdin string, args ...string) (stdout, stderr string) {
	o.t.Helper()
	cmd := o.command(args...)
	var out, said output
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &said
	err := cmd.Run()
	if cmd.ProcessState == nil {
		o.t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		o.t.Errorf("onceql key %q ends with %d, want %d:\n%s%s", args, got, code, &out, &said)
	}
	return out.String(), said.String()
}

func (o operators) command(args ...string) *exec.Cmd {
	o.t.Helper()
	return command(o.t, o.env, append([]string{"key"}, args...)...)
}

// oldKeys stores rows as a build without traces does: n of the tenant.
func (d *database) oldKeys(tenant string, n int) {
	d.t.Helper()
	d.exec(`insert into idempotency_keys (scope, key, operation, request_hash, hash_version, response_json, execution_id, created_at, expires_at, retained_until)
		select $1, 'k' || i, 'createProject', sha256('a'), 1, '{"project":{}}', gen_random_uuid(),
			now() - i * interval '1 millisecond', now() + interval '1 day', now() + interval '3 days'
		from generate_series(1, $2::int) i`, tenant, n)
}

// Whatever keys, tenants and operations are called, they are found, and a terminal is shown
// nothing that it would obey.
func TestKeys_AreShownWhateverTheyAreCalled(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	d := connect(t, url)
	o := operate(t, "OPERATOR_DATABASE_URL="+pgtest.AsOperator(t, url))
	keys := []string{"--help", "-", "a b  c", `"quoted"`, "'; drop table idempotency_keys; --", "%s%n", "$(reboot)", strings.Repeat("~", 255)}
	tenants := []string{"", "acme", "--all", "a\x1b]0;owned\x07\x1b[2Jb", "rtl\u202eten\u0085ant", strings.Repeat("ü", 120), `{"a":1}`}
	for _, tenant := range tenants {
		for _, key := range keys {
			d.exec(`insert into idempotency_keys (scope, key, operation, request_hash, hash_version, response_json, request_id, execution_id, created_at, expires_at, retained_until)
				values ($1, $2, $3, sha256('a'), 1, '{"name":"a\u009b31mb"}', $3, gen_random_uuid(), now(), now() + interval '1 day', now() + interval '3 days')`,
				tenant, key, "op\x1b[31m\nforged line")
		}
	}
	for _, key := range keys {
		// As many calls as tenants used it.
		out, _ := o.ends(0, "show", "--json", "--payload", "--", key)
		var shown struct {
			Calls []struct{ Tenant, Key, Operation string }
		}
		if err := json.Unmarshal([]byte(out), &shown); err != nil || len(shown.Calls) != len(tenants) || shown.Calls[0].Key != key {
			t.Errorf("%q: %v, %d calls in\n%s", key, err, len(shown.Calls), out)
		}
		wantPlain(t, out)
		out, _ = o.ends(0, "show", "--payload", "--", key)
		wantPlain(t, out)
	}
	for _, tenant := range tenants {
		out, _ := o.ends(0, "list", "--tenant="+tenant)
		if n := strings.Count(out, "\n"); n != len(keys)+1 {
			t.Errorf("tenant %q has %d lines:\n%s", tenant, n, out)
		}
		wantPlain(t, out)
		out, said := o.ends(0, "forget", "--yes", "--reason", "a\x1b[31m\nforged", "--tenant="+tenant, "--", keys[0])
		wantPlain(t, out+said)
		out, _ = o.ends(2, "show", "--tenant="+tenant, "--", keys[0])
		if !strings.Contains(out, "forgot the call") {
			t.Errorf("nobody forgot it:\n%s", out)
		}
		wantPlain(t, out)
	}
	out, _ := o.ends(0, "audit")
	if n := strings.Count(out, "\n"); n != 2*len(tenants) { // The second line says as whom, and why.
		t.Errorf("%d lines:\n%s", n, out)
	}
	wantPlain(t, out)
	forged := `{"query":"mutation ($i: CreateProjectInput!) { createProject(input: $i, idempotencyKey: \"k\") { project { id } } }",` +
		`"variables":{"i":{"name":"a","x\u001b[2J\nwould  replay what the key did":1}}}`
	_, said := o.endsWith(3, forged, "verify", "--tenant", "acme")
	if strings.Count(said, "\n") != 1 {
		t.Errorf("a request forges a line:\n%s", said)
	}
	wantPlain(t, said)
	if _, said := o.ends(1, "show", " a"); !strings.Contains(said, "printable ASCII") {
		t.Errorf("a key that nobody can have: %s", said)
	}
}

// What was done to a key is told however many parts another action had since.
func TestKeysAudit_CountsAnActionOnce(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	d := connect(t, url)
	o := operate(t, "OPERATOR_DATABASE_URL="+pgtest.AsOperator(t, url))
	d.exec(`insert into operator_actions (id, part, acted_at, operator, action, reason, scope, key_hash, removed, operation, executed_at)
		values (gen_random_uuid(), 1, now() - interval '1 hour', 'ann', 'forget', 'the first', 'acme', $1, 1, 'createProject', now())`, idempotency.KeyHash("acme", "k"))
	d.exec(`insert into operator_actions (id, part, acted_at, operator, action, reason, scope, removed)
		select id, part, now() - interval '1 minute' + part * interval '1 second', 'bob', 'forget-tenant', 'the second', 'acme', 1000
		from gen_random_uuid() as id, generate_series(1, 120) as part`)
	for _, command := range [][]string{{"audit", "k", "--limit", "2"}, {"audit", "--tenant", "acme", "--limit", "2"}} {
		out, _ := o.ends(0, command...)
		if strings.Count(out, "\n") != 4 || !strings.Contains(out, "120000 keys") || !strings.Contains(out, "the first") {
			t.Errorf("%q:\n%s", command, out)
		}
	}
	if out, _ := o.ends(2, "show", "k"); strings.Count(out, "bob") != 1 || !strings.Contains(out, "the first") {
		t.Errorf("show:\n%s", out)
	}
	if out, _ := o.ends(0, "audit", "k", "--limit", "1", "--json"); strings.Count(out, "\n") != 120 {
		t.Errorf("it has %d parts", strings.Count(out, "\n"))
	}
}

// Whose number has no name is not who the environment says.
func TestKeysForget_RecordsAUserWithoutAName(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	connect(t, url).oldKeys("acme", 1)
	cmd := operate(t, "OPERATOR_DATABASE_URL="+pgtest.AsOperator(t, url), "USER=somebody").
		command("forget", "k1", "--tenant", "acme", "--reason", "r", "--yes")
	want := operator.Who()
	if os.Geteuid() == 0 { // Nobody else may become another user.
		cmd.Path, cmd.Dir, want = forOthers(t, cmd.Path), "/", "uid=54321"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 54321, Gid: 54321}}
	}
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, output)
	}
	if who, _ := operate(t, "OPERATOR_DATABASE_URL="+url).ends(0, "audit"); !strings.Contains(who, want) || strings.Contains(who, "somebody@") {
		t.Errorf("the record does not say that it was %s:\n%s", want, who)
	}
}

// forOthers is a copy of the program that other users may run.
func forOthers(t testing.TB, program string) string {
	t.Helper()
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join("/tmp", fmt.Sprintf("onceql-%d", os.Getpid()))
	t.Cleanup(func() { _ = os.Remove(copied) })
	if err := os.WriteFile(copied, text, 0o755); err != nil {
		t.Fatal(err)
	}
	return copied
}

// wantPlain checks that the text has no character but line ends that a terminal obeys.
func wantPlain(t testing.TB, text string) {
	t.Helper()
	for _, r := range text {
		if r != '\n' && (r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x202e) {
			t.Errorf("it holds %q:\n%q", r, text)
			return
		}
	}
}

// A role that can't see or do what is asked for says so, and never that nothing is there.
func TestKeys_AreNotSaidToBeAbsentToWhoCantSeeThem(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	d := connect(t, url)
	d.oldKeys("acme", 3)
	d.exec(`do $$ begin create role onceql_nobody login password 'hunter2'; exception when duplicate_object or unique_violation then null; end $$`)
	pgtest.AsOperator(t, url)
	server := operate(t, "DATABASE_URL="+grantedRole(t, url))
	for _, args := range [][]string{{"show", "k1"}, {"list"}, {"show", "other"}} {
		if _, said := server.ends(1, args...); !strings.Contains(said, "OPERATOR_DATABASE_URL") {
			t.Errorf("%q as the server's role: %s", args, said)
		}
	}
	server.ends(0, "show", "k1", "--tenant", "acme")
	server.ends(0, "list", "--tenant", "acme")
	if out, _ := server.ends(2, "show", "other", "--tenant", "acme"); !strings.Contains(out, "Whether it was forgotten is not known") {
		t.Error(out)
	}
	for _, args := range [][]string{{"forget", "k1", "--tenant", "acme", "--reason", "r", "--yes"}, {"forget", "--tenant", "acme", "--reason", "r", "--yes", "--all"}, {"audit"}} {
		if _, said := server.ends(1, args...); !strings.Contains(said, "OPERATOR_DATABASE_URL") {
			t.Errorf("%q as the server's role: %s", args, said)
		}
	}
	server.ends(0, "purge")

	nobody := strings.Replace(pgtest.AsRole(t, url), "onceql_tests:onceql_tests@", "onceql_nobody:hunter2@", 1)
	for name, address := range map[string]string{
		"without rights":     nobody,
		"a wrong password":   strings.Replace(nobody, "hunter2", "hunter2x", 1),
		"no server":          "postgres://u:hunter2@127.0.0.1:1/db",
		"what can't be read": "postgres://u:hunter2@a/b@127.0.0.1/db",
	} {
		o := operate(t, "OPERATOR_DATABASE_URL="+address)
		for _, args := range [][]string{{"show", "k1"}, {"show", "k1", "--tenant", "acme"}, {"list"}, {"purge"}, {"audit"}, {"verify", "--tenant", "acme"}, {"forget", "k1", "--tenant", "acme", "--reason", "r", "--yes"}} {
			out, said := o.ends(1, args...)
			if strings.Contains(out+said, "hunter2") || out != "" {
				t.Errorf("%s: %q prints %s%s", name, args, out, said)
			}
		}
	}
	if n := d.count(`select count(*) from idempotency_keys`); n != 3 {
		t.Errorf("%d keys are left, want 3", n)
	}
}

// grantedRole is the server's role with its rights.
func grantedRole(t testing.TB, url string) string {
	t.Helper()
	role := pgtest.AsRole(t, url)
	if output, err := command(t, []string{"DATABASE_URL=" + role, "MIGRATION_DATABASE_URL=" + url}, "migrate", "up").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return role
}

func TestKeysForget_WhileTheCallExecutes(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	i := issuer.New(t)
	s, d := serveTo(t, i, url), connect(t, url)
	o := operate(t, "OPERATOR_DATABASE_URL="+pgtest.AsOperator(t, url))
	slow := bearer(i.Token("slow"))
	release := d.slowTenants()
	held := startBurst(t, 1, []*server{s}, func(int) request { return create("k", "Apollo") }, slow...)
	eventually(t, "the key to be in flight", func() bool { return held.underWay() && d.slow() == 1 })
	forget := []string{"forget", "k", "--tenant", "slow", "--reason", "a test", "--yes"}
	if _, said := o.ends(3, forget...); !strings.Contains(said, "executes now") {
		t.Error(said)
	}
	if out, _ := o.ends(2, "show", "k", "--tenant", "slow"); !strings.Contains(out, "executes now") {
		t.Error(out)
	}
	body, err := json.Marshal(create("k", "Apollo"))
	if err != nil {
		t.Fatal(err)
	}
	if out, _ := o.endsWith(3, string(body), "verify", "--tenant", "slow"); !strings.Contains(out, "IDEMPOTENCY_IN_PROGRESS") {
		t.Error(out)
	}
	release()
	wantOneExecution(t, held.wait())
	if out, _ := o.endsWith(0, string(body), "verify", "--tenant", "slow"); !strings.Contains(out, "replay") {
		t.Error(out)
	}
	o.ends(0, forget...)
	if out, _ := o.endsWith(2, string(body), "verify", "--tenant", "slow"); !strings.Contains(out, "execute") {
		t.Error(out)
	}
	// As the command warned.
	wantStatus(t, s.send(create("k", "Apollo"), slow...), "EXECUTED")
	d.wantStored(2, 1)
}

// Ctrl-C, with another operator at the same: what the record says is gone is gone.
func TestKeysForget_OfATenantIsStopped(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	d := connect(t, url)
	d.oldKeys("big", 100_000)
	d.oldKeys("other", 10)
	d.exec(`analyze idempotency_keys`)
	o := operate(t, "OPERATOR_DATABASE_URL="+pgtest.AsOperator(t, url))
	out, _ := o.ends(0, "list", "--json", "--limit", "2500", "--tenant", "big")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 2500 || !strings.Contains(lines[0], `"key":"k1"`) || !strings.Contains(lines[2499], `"key":"k2500"`) {
		t.Errorf("%d lines, from %s to %s", len(lines), lines[0], lines[len(lines)-1])
	}
	if out, _ := o.ends(0, "list", "--limit", "3"); !strings.Contains(out, "k1 ") {
		t.Error(out)
	}
	forget := []string{"forget", "--tenant", "big", "--reason", "a test", "--yes", "--all"}
	left := func() int { return d.count(`select count(*) from idempotency_keys where scope = 'big'`) }
	// The record of a part waits, so that the signal comes in the middle.
	blocker, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer blocker.Close(t.Context())
	cmd := o.command(forget...)
	var said output
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "some keys to be forgotten", func() bool { return left() < 100_000 })
	if _, err := blocker.Exec(t.Context(), `begin; lock table operator_actions in exclusive mode`); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a part to wait", func() bool {
		return d.count(`select count(*) from pg_locks where not granted and relation = 'operator_actions'::regclass`) == 1
	})
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if _, err := blocker.Exec(t.Context(), `rollback`); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	recorded := d.count(`select sum(removed) from operator_actions`)
	if code := cmd.ProcessState.ExitCode(); code != 130 || recorded == 0 || recorded+left() != 100_000 || left() == 0 ||
		!strings.Contains(said.String(), fmt.Sprintf("Stopped: %d keys forgotten", recorded)) {
		t.Errorf("it ended with %d, %d keys are recorded and %d left:\n%s", code, recorded, left(), &said)
	}
	// Two at once end it.
	second := o.command(forget...)
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	first := o.command(forget...)
	_ = first.Run()
	_ = second.Wait()
	for _, cmd := range []*exec.Cmd{first, second} {
		if code := cmd.ProcessState.ExitCode(); code != 0 && code != 2 {
			t.Errorf("one of two ended with %d", code)
		}
	}
	if recorded := d.count(`select sum(removed) from operator_actions`); recorded != 100_000 || left() != 0 {
		t.Errorf("%d keys are recorded and %d left", recorded, left())
	}
	if n := d.count(`select count(*) from idempotency_keys`); n != 10 {
		t.Errorf("%d keys of others are left, want 10", n)
	}
}

// On a terminal somebody is asked.
func TestKeysForget_AsksOnATerminal(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	d := connect(t, url)
	d.oldKeys("acme", 5)
	env := "OPERATOR_DATABASE_URL=" + pgtest.AsOperator(t, url)
	if _, said := operate(t, env).ends(1, "forget", "k1", "--tenant", "acme", "--reason", "r"); !strings.Contains(said, "--yes") {
		t.Errorf("without a terminal: %s", said)
	}
	for _, c := range []struct {
		args, answer string
		code, left   int
		says         string
	}{
		{"forget k1 --tenant acme --reason r", "n\n", 1, 5, "then executes again"},
		{"forget k1 --tenant acme --reason r", "\x04", 1, 5, "--yes"},
		{"forget k1 --tenant acme --reason r", "y\n", 0, 4, "k1"},
		{"forget --tenant acme --reason r", "no\n", 1, 4, "Forget all of tenant acme, 4 keys?"},
		{"forget --tenant acme --reason r", "yes\n", 0, 0, "Forgot 4 keys"},
	} {
		cmd := command(t, []string{env})
		cmd.Args = []string{"script", "-qec", cmd.Path + " key " + c.args, "/dev/null"}
		path, err := exec.LookPath("script")
		if err != nil {
			t.Fatal(err)
		}
		cmd.Path, cmd.Stdin = path, strings.NewReader(c.answer)
		text, _ := cmd.CombinedOutput()
		if n := d.count(`select count(*) from idempotency_keys`); cmd.ProcessState.ExitCode() != c.code || n != c.left || !strings.Contains(string(text), c.says) {
			t.Errorf("%s, answered %q: it ends with %d, %d keys are left:\n%s", c.args, c.answer, cmd.ProcessState.ExitCode(), n, text)
		}
	}
}

// Beside a server with the same DATA_DIR, and without it.
func TestKeys_OfTheEmbeddedPostgreSQL(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	o := operate(t, "DATA_DIR="+dir)
	if _, said := o.ends(1, "show", "k"); !strings.Contains(said, "no data") {
		t.Errorf("without data: %s", said)
	}
	s := launch(t, "DATA_DIR="+dir)
	s.awaitURL()
	wantStatus(t, s.send(create("k", "Apollo")), "EXECUTED")
	for range 2 {
		o.ends(0, "show", "k")
		wantStatus(t, s.send(create("k", "Apollo")), "REPLAYED")
	}
	full := exec.Command("/bin/sh", "-c", `exec "$0" key list --json > /dev/full`, o.command().Path)
	full.Env = o.command().Env
	if text, err := full.CombinedOutput(); err == nil || !strings.Contains(string(text), "no space left") {
		t.Errorf("onto a full disk: %v, %s", err, text)
	}
	o.ends(0, "forget", "k", "--tenant", "", "--reason", "a test", "--yes")
	wantStatus(t, s.send(create("k", "Apollo")), "EXECUTED")
	s.stop()
	o.ends(0, "show", "k")
	if out, _ := o.ends(0, "audit", "k"); !strings.Contains(out, "a test") {
		t.Error(out)
	}
}

// A standby shows what it has, and does not say of the rest that it is not there.
func TestKeys_OnAStandby(t *testing.T) {
	t.Parallel()
	postgres := pgtest.NewServer(t)
	connect(t, postgres.URL()).oldKeys("acme", 3)
	o := operate(t, "OPERATOR_DATABASE_URL="+postgres.URL())
	postgres.StandBy(t)
	o.ends(0, "show", "k1")
	o.ends(0, "list")
	o.ends(0, "purge", "--dry-run")
	for _, args := range [][]string{
		{"show", "other"},
		{"list", "--tenant", "other"},
		{"purge"},
		{"audit"},
		{"forget", "k1", "--tenant", "acme", "--reason", "r", "--yes"},
	} {
		if out, said := o.ends(1, args...); !strings.Contains(said, "standby") || out != "" {
			t.Errorf("%q: %s%s", args, out, said)
		}
	}
}
