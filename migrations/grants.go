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

// grants are the rights of a server's role, by table.
var grants = []struct {
	table  string
	rights []string
}{
	{"idempotency_keys", []string{"select", "insert", "delete"}},
	{"projects", []string{"select", "insert", "update"}},
	{"goose_db_version", []string{"select"}},
	{"schema_compatibility", []string{"select"}},
}

// grantOnce grants the role what it has not got. Mostly it has everything, and nothing is
// written: two sessions can't write the rights of one table at the same time.
func (m *migrator) grantOnce(ctx context.Context) error {
	if m.role == "" {
		return nil
	}
	var granted bool
	if err := m.database.QueryRowContext(ctx, grantedSQL(), m.role).Scan(&granted); err != nil {
		return m.granting(err)
	}
	if granted {
		return nil
	}
	if err := m.checkSession(ctx); err != nil {
		return m.granting(err)
	}
	return m.granting(m.locked(ctx, m.grant))
}

// grantTimes is how often rights are granted. A server of a build that takes no lock for
// that may write them at the same moment.
const grantTimes = 5

func (m *migrator) grant(ctx context.Context, conn *sql.Conn) error {
	var current string
	if err := conn.QueryRowContext(ctx, `select current_schema()`).Scan(&current); err != nil {
		return err
	}
	role := pgx.Identifier{m.role}.Sanitize()
	statements := []string{`grant usage on schema ` + pgx.Identifier{current}.Sanitize() + ` to ` + role}
	for _, g := range grants {
		statements = append(statements, `grant `+strings.Join(g.rights, ", ")+` on `+g.table+` to `+role)
	}
	for attempt := 1; ; attempt++ {
		_, err := conn.ExecContext(ctx, strings.Join(statements, ";\n"))
		// The message would be "tuple concurrently updated".
		if sqlState(err) != internalError || attempt == grantTimes {
			return err
		}
		select {
		case <-time.After(rand.N(tryAgain)):
		case <-ctx.Done():
			return err
		}
	}
}

func (m *migrator) granting(err error) error {
	if err != nil {
		return fmt.Errorf("granting rights to the role of DATABASE_URL: %w", err)
	}
	return nil
}

// grantedSQL asks whether the role $1 has all the rights.
func grantedSQL() string {
	conditions := []string{`has_schema_privilege($1::name, current_schema(), 'usage')`}
	for _, g := range grants {
		for _, right := range g.rights {
			conditions = append(conditions, fmt.Sprintf(`has_table_privilege($1::name, '%s', '%s')`, g.table, right))
		}
	}
	return `select ` + strings.Join(conditions, ` and `)
}
