package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// ErrOperator reports a role that must not be the operators': it could change the record of
// what they did, or the server would see the keys of all tenants with it.
var ErrOperator = errors.New("the operators' role must be one that owns nothing, is no superuser and no member of a superuser or of the tables' owner, makes no roles before PostgreSQL 16, and of which neither the server's role is a member nor the tables' owner inherits")

// operatorRights are those of an operators' role. It may not say when an action was, nor as
// which role: these columns have defaults.
var operatorRights = []right{
	{table: "idempotency_keys", kinds: []string{"select", "delete"}},
	{table: "projects", kinds: []string{"select", "delete"}},
	{table: "operator_actions", kinds: []string{"select", "insert"}, columns: []string{
		"id", "part", "operator", "action", "reason", "scope", "key_hash", "removed",
		"operation", "request_id", "trace_id", "request_hash", "hash_version", "executed_at", "expires_at",
	}},
	{table: "goose_db_version", kinds: []string{"select"}},
	{table: "schema_compatibility", kinds: []string{"select"}},
}

// operatorPolicies let an operators' role see and delete the rows of all tenants. A policy
// can't be part of a migration: roles are the cluster's, and each database may have others.
var operatorPolicies = []struct{ name, table, command string }{
	{"operator_sees", "idempotency_keys", "select"},
	{"operator_removes", "idempotency_keys", "delete"},
	{"operator_sees", "projects", "select"},
	{"operator_removes", "projects", "delete"},
}

func (m *migrator) grantOperator(ctx context.Context) error {
	var unfit bool
	// A member that inherits nothing needs no more than set role. Before PostgreSQL 16 whoever
	// makes roles may become a member of any but a superuser.
	err := m.database.QueryRowContext(ctx, `
		select pg_has_role($1::name, relowner, 'member')
			or exists (
				select from pg_roles as reached
				where pg_has_role($1::name, reached.oid, 'member')
				and (reached.rolsuper or reached.rolcreaterole and current_setting('server_version_num')::int < 160000)
			)
			or pg_has_role(relowner, $1::name, 'usage') and not owner.rolsuper
			or $2::text <> '' and pg_has_role($2::name, $1::name, 'member') and not coalesce(server.rolsuper, false)
		from pg_class
		join pg_roles as owner on owner.oid = relowner
		left join pg_roles as server on server.rolname = $2
		where pg_class.oid = 'idempotency_keys'::regclass`, m.operator, m.role).Scan(&unfit)
	if err != nil {
		return err
	}
	if unfit {
		return ErrOperator
	}
	if err := m.grantOnce(ctx, m.operator, operatorRights); err != nil {
		return err
	}
	for _, policy := range operatorPolicies {
		roles, err := m.rolesOf(ctx, policy.table, policy.name)
		if err != nil {
			return err
		}
		if roles.granted {
			continue
		}
		if err := m.locked(ctx, func(ctx context.Context, conn *sql.Conn) error {
			return m.addPolicy(ctx, conn, policy.name, policy.table, policy.command)
		}); err != nil {
			return err
		}
	}
	return nil
}

// policyRoles are the roles of a policy, quoted, and whether the operators' is among them.
type policyRoles struct {
	quoted  string
	exists  bool
	granted bool
}

type rower interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func (m *migrator) rolesOf(ctx context.Context, table, policy string) (policyRoles, error) {
	return rolesOn(ctx, m.database, table, policy, m.operator)
}

func rolesOn(ctx context.Context, on rower, table, policy, role string) (found policyRoles, err error) {
	err = on.QueryRowContext(ctx, `
		select coalesce(string_agg(quote_ident(rolname), ', '), ''),
			exists (select from pg_policy where polrelid = $1::regclass and polname = $2),
			coalesce(bool_or(rolname = $3), false)
		from pg_policy cross join unnest(polroles) as member
		join pg_roles on pg_roles.oid = member
		where polrelid = $1::regclass and polname = $2`, table, policy, role).Scan(&found.quoted, &found.exists, &found.granted)
	return found, err
}

// lockTimeout is how long a policy waits for the table: whoever calls meanwhile waits behind it.
const lockTimeout = "1s"

// addPolicy makes the policy one of the operators' role too. Other roles keep it.
func (m *migrator) addPolicy(ctx context.Context, conn *sql.Conn, policy, table, command string) error {
	roles, err := rolesOn(ctx, conn, table, policy, m.operator)
	if err != nil || roles.granted {
		return err
	}
	role := pgx.Identifier{m.operator}.Sanitize()
	statement := fmt.Sprintf(`create policy %s on %s for %s to %s using (true)`, policy, table, command, role)
	if roles.exists {
		statement = fmt.Sprintf(`alter policy %s on %s to %s`, policy, table, strings.TrimPrefix(roles.quoted+", "+role, ", "))
	}
	return again(ctx, lockNotAvailable, func() error {
		_, err := conn.ExecContext(ctx, `set lock_timeout = '`+lockTimeout+`'; `+statement+`; reset lock_timeout`)
		return err
	})
}
