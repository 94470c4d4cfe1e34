package e2e_test

import (
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/internal/pgtest"
)

// The statements stand in the docs for people who begin with an empty PostgreSQL.
func TestOperations_RolesCanBeMadeFromNothing(t *testing.T) {
	t.Parallel()
	postgres := pgtest.NewServer(t)
	superuser, err := pgx.Connect(t.Context(), postgres.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer superuser.Close(t.Context())
	for _, statement := range statements(t, "operations.md", "create role") {
		if _, err := superuser.Exec(t.Context(), strings.ReplaceAll(statement, "…", "secret")); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	as := func(role string) string {
		address, err := url.Parse(postgres.URL())
		if err != nil {
			t.Fatal(err)
		}
		address.User, address.Path = url.UserPassword(role, "secret"), "/onceql"
		return address.String()
	}
	s := launch(t, "DATABASE_URL="+as("onceql"), "MIGRATION_DATABASE_URL="+as("onceql_owner"))
	s.awaitURL()
	wantStatus(t, s.send(create("k", "Apollo")), "EXECUTED")
	if log := s.stderr.String(); strings.Contains(log, "row-level security") {
		t.Errorf("the server says that its role is above row-level security:\n%s", log)
	}
	role, err := pgx.Connect(t.Context(), as("onceql"))
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

// statements returns those of the block of SQL in the file of docs/ that begins with
// the words.
func statements(t testing.TB, file, begin string) []string {
	t.Helper()
	text, err := os.ReadFile(moduleRoot + "/docs/" + file)
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(text), "```sql\n"+begin)
	block, _, closed := strings.Cut(block, ";\n```")
	if !found || !closed {
		t.Fatalf("docs/%s has no SQL that begins with %q", file, begin)
	}
	return strings.Split(begin+block, ";\n")
}
