package migrations_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/onceql/onceql/internal/pgtest"
	"github.com/onceql/onceql/migrations"
)

// A roles is a database with an owner of its tables, a server's role and operators'. Roles
// are the cluster's, so their names end with a number of the test's own.
type roles struct {
	t       testing.TB
	suffix  string
	address *url.URL
	super   *pgx.Conn
}

var tests atomic.Int64

func newRoles(t testing.TB) *roles {
	t.Helper()
	address, err := url.Parse(pgtest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	r := &roles{t: t, suffix: fmt.Sprint(tests.Add(1)), address: address}
	r.super = r.connect("")
	for _, name := range []string{"owner", "server", "operator", "other"} {
		r.exec(`create role ` + name + `~ login password 'secret'`)
	}
	r.exec(`create database once~ owner owner~ encoding 'UTF8' template template0`)
	r.address.Path = "/once" + r.suffix
	r.super = r.connect("")
	return r
}

// named puts the test's number behind the names of roles.
func (r *roles) named(text string) string { return strings.ReplaceAll(text, "~", r.suffix) }

func (r *roles) as(role string) string {
	address := *r.address
	if role != "" {
		address.User = url.UserPassword(role+r.suffix, "secret")
	}
	return address.String()
}

func (r *roles) connect(role string) *pgx.Conn {
	r.t.Helper()
	conn, err := pgx.Connect(r.t.Context(), r.as(role))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(r.t.Context())) })
	return conn
}

func (r *roles) exec(sql string) {
	r.t.Helper()
	if _, err := r.super.Exec(r.t.Context(), r.named(sql)); err != nil {
		r.t.Fatalf("%s: %v", sql, err)
	}
}

func (r *roles) migrate(operator string) {
	r.t.Helper()
	if err := r.up(operator); err != nil {
		r.t.Fatal(err)
	}
}

func (r *roles) up(operator string) error {
	if operator != "" {
		operator += r.suffix
	}
	return migrations.Up(r.t.Context(), r.as("owner"), migrations.ForRole("server"+r.suffix), migrations.ForOperator(operator))
}

// rightsOf is all that a role may do, by table and column, and what policies let it.
func (r *roles) rightsOf(role string) string {
	r.t.Helper()
	var text string
	err := r.super.QueryRow(r.t.Context(), `
		select string_agg(line, E'\n' order by line) from (
			select table_name || ' ' || privilege_type as line from information_schema.role_table_grants where grantee = $1
			union select table_name || '.' || column_name || ' ' || privilege_type from information_schema.role_column_grants where grantee = $1
			union select tablename || ' policy ' || policyname || ' ' || cmd || ' ' || qual from pg_policies where $1 = any(roles) or 'public' = any(roles)
		) as lines`, role+r.suffix).Scan(&text)
	if err != nil {
		r.t.Fatal(err)
	}
	return text
}

const insertKey = `insert into idempotency_keys (scope, key, operation, request_hash, hash_version, response_json, execution_id, created_at, expires_at)
	values ('acme', 'k', 'write', sha256('a'), 1, '{}', gen_random_uuid(), now(), now() + interval '1 hour')`

const insertProject = `insert into projects (tenant, id, name, created_at, updated_at) values ('acme', gen_random_uuid(), 'Apollo', now(), now())`

const insertAction = `insert into operator_actions (id, part, operator, action, reason, removed) values (gen_random_uuid(), 1, 'o', 'a', 'r', 1)`

func TestForOperator_SeesAllAndChangesNothing(t *testing.T) {
	t.Parallel()
	r := newRoles(t)
	r.migrate("")
	before := r.rightsOf("server")
	r.migrate("operator")
	r.migrate("operator")
	r.exec(insertKey)
	r.exec(strings.Replace(insertKey, "'acme'", "'globex'", 1))
	r.exec(insertProject)
	r.exec(strings.Replace(insertProject, "'acme'", "'globex'", 1))

	operator := r.connect("operator")
	var rows int
	if err := operator.QueryRow(t.Context(), `select count(*) from idempotency_keys`).Scan(&rows); err != nil || rows != 2 {
		t.Errorf("an operator sees %d rows, %v; want 2", rows, err)
	}
	for _, sql := range []string{`delete from idempotency_keys where scope = 'globex'`, `select * from projects`, `delete from projects where tenant = 'globex'`, insertAction, `select * from operator_actions`, `select * from goose_db_version`} {
		if tag, err := operator.Exec(t.Context(), sql); err != nil || tag.RowsAffected() == 0 {
			t.Errorf("an operator can't %s: %v, %v", sql, tag, err)
		}
	}
	refused(t, "an operator", operator,
		insertKey,
		`update idempotency_keys set operation = 'other'`,
		`select * from idempotency_keys for update`,
		`truncate idempotency_keys`,
		`update operator_actions set reason = ''`,
		`delete from operator_actions`,
		`truncate operator_actions`,
		`insert into operator_actions (id, part, operator, action, reason, removed, role) values (gen_random_uuid(), 1, 'o', 'a', 'r', 1, 'other')`,
		`insert into operator_actions (id, part, operator, action, reason, removed, acted_at) values (gen_random_uuid(), 1, 'o', 'a', 'r', 1, now())`,
		`alter table operator_actions disable row level security`,
		`create table anything ()`,
		insertProject,
		`update projects set name = 'other'`,
		`select * from projects for update`,
		`truncate projects`,
	)
	var role string
	if err := operator.QueryRow(t.Context(), `select role from operator_actions`).Scan(&role); err != nil || role != "operator"+r.suffix {
		t.Errorf("the role of an action is %q, %v", role, err)
	}

	server := r.connect("server")
	refused(t, "the server", server, `select * from operator_actions`, insertAction, `set role operator`+r.suffix)
	if err := server.QueryRow(t.Context(), `select count(*) from idempotency_keys`).Scan(&rows); err != nil || rows != 0 {
		t.Errorf("the server sees %d rows without a tenant, %v", rows, err)
	}
	if diff := cmp.Diff(before, r.rightsOf("server")); diff != "" || before == "" {
		t.Errorf("the rights of the server's role changed:\n%s", diff)
	}
	if err := r.connect("owner").QueryRow(t.Context(), `select count(*) from idempotency_keys`).Scan(&rows); err != nil || rows != 0 {
		t.Errorf("the owner sees %d rows without a tenant, %v", rows, err)
	}
}

func refused(t testing.TB, who string, conn *pgx.Conn, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		_, err := conn.Exec(t.Context(), sql)
		var pgErr *pgconn.PgError
		if !errors.As(err, &pgErr) || pgErr.Code != "42501" {
			t.Errorf("%s: %s: %v, want that it may not", who, sql, err)
		}
	}
}

// Each operator may have a role, which is a member of the operators', or one that is
// granted beside it.
func TestForOperator_HasMembersAndRolesBesideIt(t *testing.T) {
	t.Parallel()
	r := newRoles(t)
	r.migrate("operator")
	r.exec(insertKey)
	r.exec(`create role member~ login password 'secret' in role operator~`)
	r.migrate("other")
	for _, role := range []string{"operator", "member", "other"} {
		conn := r.connect(role)
		var rows int
		if err := conn.QueryRow(t.Context(), `select count(*) from idempotency_keys`).Scan(&rows); err != nil || rows != 1 {
			t.Errorf("%s sees %d rows, %v", role, rows, err)
		}
		var recorded string
		if err := conn.QueryRow(t.Context(), insertAction+` returning role`).Scan(&recorded); err != nil || recorded != role+r.suffix {
			t.Errorf("what %s does is recorded as of %s, %v", role, recorded, err)
		}
	}
	// A role that goes leaves the others theirs.
	r.exec(`drop owned by operator~; drop role operator~`)
	var rows int
	if err := r.connect("other").QueryRow(t.Context(), `select count(*) from idempotency_keys`).Scan(&rows); err != nil || rows != 1 {
		t.Errorf("the role beside it sees %d rows, %v", rows, err)
	}
}

func TestForOperator_RefusesRolesThatAreNone(t *testing.T) {
	t.Parallel()
	r := newRoles(t)
	r.exec(`create role heir~ login in role owner~; create role group_of_server~; grant group_of_server~ to server~; create role boss~ superuser; create role clerk~ createrole;
		create role above_owner~; grant above_owner~ to owner~`)
	// They inherit nothing, and need no more than set role.
	r.exec(`create role climber~ login noinherit in role owner~; create role reserve~ login noinherit in role boss~`)
	r.exec(`create role spare~; grant spare~ to server~; alter role server~ noinherit`)
	r.migrate("")
	before := r.rightsOf("server")
	for _, operator := range []string{"owner", "heir", "server", "group_of_server", "boss", "above_owner", "climber", "reserve", "spare"} {
		if err := r.up(operator); !errors.Is(err, migrations.ErrOperator) {
			t.Errorf("%s: %v, want ErrOperator", operator, err)
		}
	}
	// Before PostgreSQL 16 it may make itself a member of the owner.
	if r.super.PgConn().ParameterStatus("server_version") < "16" {
		if err := r.up("clerk"); !errors.Is(err, migrations.ErrOperator) {
			t.Errorf("clerk: %v, want ErrOperator", err)
		}
	}
	if err := r.up("nobody"); err == nil || !strings.Contains(err.Error(), "OPERATOR_DATABASE_URL") {
		t.Errorf("a role that is not there: %v", err)
	}
	if diff := cmp.Diff(before, r.rightsOf("server")); diff != "" {
		t.Error(diff)
	}
}

// Servers that start at once grant at once.
func TestForOperator_GrantsAtOnce(t *testing.T) {
	t.Parallel()
	r := newRoles(t)
	ended := make(chan error)
	const servers = 4
	for i := range servers {
		go func() { ended <- r.up([]string{"operator", "other"}[i%2]) }()
	}
	for range servers {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	r.exec(insertKey)
	for _, role := range []string{"operator", "other"} {
		var rows int
		if err := r.connect(role).QueryRow(t.Context(), `select count(*) from idempotency_keys`).Scan(&rows); err != nil || rows != 1 {
			t.Errorf("%s sees %d rows, %v", role, rows, err)
		}
	}
}
