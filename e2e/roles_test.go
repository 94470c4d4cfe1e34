package e2e_test

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/internal/pgtest"
)

// The commands stand in the docs for people who begin with an empty PostgreSQL. They are run
// as they are, but for the passwords and the host.
func TestOperations_RolesCanBeMadeFromNothing(t *testing.T) {
	t.Parallel()
	postgres := pgtest.NewServer(t)
	address, err := url.Parse(postgres.URL())
	if err != nil {
		t.Fatal(err)
	}
	shell := func(script string) *exec.Cmd {
		script = strings.ReplaceAll(script, "postgres://postgres:…@db.example.com/postgres", postgres.URL())
		script = strings.NewReplacer("…", "secret", "db.example.com", address.Host).Replace(script)
		return inShell(t, script)
	}
	makeRoles := block(t, "sh", "psql -f")
	if output, err := shell(strings.Replace(makeRoles, "ONCEQL_PASSWORD=", "OTHER=", 1)).CombinedOutput(); err == nil || !strings.Contains(string(output), "set ONCEQL_OWNER_PASSWORD") {
		t.Fatalf("without a password it says: %v\n%s", err, output)
	}
	if output, err := shell(makeRoles).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if output, err := shell(makeRoles).CombinedOutput(); err == nil || !strings.Contains(string(output), "already exists") {
		t.Fatalf("a second time it says: %v\n%s", err, output)
	}
	if strings.Contains(postgres.Log(t), "secret") {
		t.Error("PostgreSQL's log has a password")
	}
	if output, err := shell(block(t, "sh", "onceql migrate up")).CombinedOutput(); err != nil || strings.Contains(string(output), "pending") {
		t.Fatalf("%v\n%s", err, output)
	}
	s := start(t, shell(strings.Replace(block(t, "sh", "onceql serve"), "onceql serve", "exec onceql serve", 1)))
	s.awaitURL()
	wantStatus(t, s.send(create("k", "Apollo")), "EXECUTED")
	if log := s.stderr.String(); strings.Contains(log, "row-level security") {
		t.Errorf("the server says that its role is above row-level security:\n%s", log)
	}
	address.User, address.Path = url.UserPassword("onceql", "secret"), "/onceql"
	role, err := pgx.Connect(t.Context(), address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer role.Close(t.Context())
	for _, statement := range []string{"create table anything ()", "drop table projects", "update idempotency_keys set operation = ''"} {
		if _, err := role.Exec(t.Context(), statement); err == nil {
			t.Errorf("the server's role may %s", statement)
		}
	}
}

// inShell is a command that runs the script, where onceql is the program under test.
func inShell(t testing.TB, script string) *exec.Cmd {
	t.Helper()
	cmd := command(t, nil)
	onceql := cmd.Path
	cmd.Dir = moduleRoot
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-e", "-c", script}
	cmd.Env = append(cmd.Env, fmt.Sprintf("PATH=%s:%s", filepath.Dir(onceql), os.Getenv("PATH")))
	return cmd
}

// block returns the block of docs/operations.md in the language that has the words.
func block(t testing.TB, language, words string) string {
	t.Helper()
	text, err := os.ReadFile(moduleRoot + "/docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range strings.Split(string(text), "```"+language+"\n")[1:] {
		block, _, closed := strings.Cut(block, "\n```")
		if closed && strings.Contains(block, words) {
			return block
		}
	}
	t.Fatalf("docs/operations.md has no block of %s with %q", language, words)
	return ""
}
