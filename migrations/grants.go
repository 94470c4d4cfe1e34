package migrations

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// A right is what a role may do to a table.
type right struct {
	table string
	kinds []string
	// columns, where there are some, are the only ones that may be inserted.
	columns []string
}

// serverRights are those of a server's role.
var serverRights = []right{
	{table: "idempotency_keys", kinds: []string{"select", "insert", "delete"}},
	{table: "projects", kinds: []string{"select", "insert", "update"}},
	{table: "goose_db_version", kinds: []string{"select"}},
	{table: "schema_compatibility", kinds: []string{"select"}},
}

// grantAll grants the roles what they need, where they have not got it.
func (m *migrator) grantAll(ctx context.Context) error {
	if m.role != "" {
		if err := m.grantOnce(ctx, m.role, serverRights); err != nil {
			return fmt.Errorf("granting rights to the role of DATABASE_URL: %w", err)
		}
	}
	if m.operator != "" {
		if err := m.grantOperator(ctx); err != nil {
			return fmt.Errorf("granting rights to the role of OPERATOR_DATABASE_URL: %w", err)
		}
	}
	return nil
}

// grantOnce grants the role what it has not got. Mostly it has everything, and nothing is
// written: two sessions can't write the rights of one table at the same time.
func (m *migrator) grantOnce(ctx context.Context, role string, rights []right) error {
	var granted bool
	if err := m.database.QueryRowContext(ctx, grantedSQL(rights), role).Scan(&granted); err != nil {
		return err
	}
	if granted {
		return nil
	}
	return m.locked(ctx, func(ctx context.Context, conn *sql.Conn) error { return m.grant(ctx, conn, role, rights) })
}

// grantTimes is how often rights are granted. A server of a build that takes no lock for
// that may write them at the same moment.
const grantTimes = 5

func (m *migrator) grant(ctx context.Context, conn *sql.Conn, role string, rights []right) error {
	var current string
	if err := conn.QueryRowContext(ctx, `select current_schema()`).Scan(&current); err != nil {
		return err
	}
	role = pgx.Identifier{role}.Sanitize()
	statements := []string{`grant usage on schema ` + pgx.Identifier{current}.Sanitize() + ` to ` + role}
	for _, r := range rights {
		for _, kind := range r.kinds {
			if kind == "insert" && r.columns != nil {
				kind = `insert (` + strings.Join(r.columns, ", ") + `)`
			}
			statements = append(statements, `grant `+kind+` on `+r.table+` to `+role)
		}
	}
	return again(ctx, internalError, func() error { // The message would be "tuple concurrently updated".
		_, err := conn.ExecContext(ctx, strings.Join(statements, ";\n"))
		return err
	})
}

// again calls do until it returns something else than an error with the code, a few times.
func again(ctx context.Context, code string, do func() error) error {
	for attempt := 1; ; attempt++ {
		err := do()
		if sqlState(err) != code || attempt == grantTimes {
			return err
		}
		select {
		case <-time.After(rand.N(tryAgain)):
		case <-ctx.Done():
			return err
		}
	}
}

// grantedSQL asks whether the role $1 has all the rights.
func grantedSQL(rights []right) string {
	conditions := []string{`has_schema_privilege($1::name, current_schema(), 'usage')`}
	for _, r := range rights {
		for _, kind := range r.kinds {
			if kind != "insert" || r.columns == nil {
				conditions = append(conditions, fmt.Sprintf(`has_table_privilege($1::name, '%s', '%s')`, r.table, kind))
				continue
			}
			for _, column := range r.columns {
				conditions = append(conditions, fmt.Sprintf(`has_column_privilege($1::name, '%s', '%s', 'insert')`, r.table, column))
			}
		}
	}
	return `select ` + strings.Join(conditions, ` and `)
}
