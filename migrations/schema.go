package migrations

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pressly/goose/v3"
)

var (
	// ErrNewer reports a schema that a newer build made, by a migration that did not say
	// that this build may serve on it.
	ErrNewer = errors.New("the database's schema is of a newer build, which this one can't serve")
	// ErrRights reports migrations that are pending and that the role may not apply.
	ErrRights = errors.New("the database's schema is older than this build, and the role may not change it")
)

// SQLSTATEs, https://www.postgresql.org/docs/current/errcodes-appendix.html.
const (
	insufficientPrivilege = "42501"
	invalidSchemaName     = "3F000" // There is none that the role may use.
	duplicateTable        = "42P07"
	uniqueViolation       = "23505" // Of two that make one at the same time.
	internalError         = "XX000"
	lockNotAvailable      = "55P03"
)

// A schema is what a database says of its migrations.
type schema struct {
	// version is the newest that it has, 0 when it has none.
	version int64
	// pending is how many of this build's migrations it lacks.
	pending int
	// newer says that it has one that this build does not know, and may serve on.
	newer bool
}

// version is that of the schema that this build makes.
func (m *migrator) version() int64 {
	sources := m.provider.ListSources()
	return sources[len(sources)-1].Version
}

// inspect reads how far the database is, with the rights of a server's role. A role that
// may not read that was granted nothing yet: to it the database has no schema.
func (m *migrator) inspect(ctx context.Context) (schema, error) {
	applied, err := m.applied(ctx)
	if err != nil {
		return schema{}, err
	}
	var found schema
	for _, source := range m.provider.ListSources() {
		if _, ok := applied[source.Version]; !ok {
			found.pending++
		}
	}
	for version := range applied {
		found.version = max(found.version, version)
		found.newer = found.newer || version > m.version()
	}
	if !found.newer {
		return found, nil
	}
	oldest, err := pairs[int64](ctx, m, "schema_compatibility", `select version, oldest_build from schema_compatibility`)
	if err != nil {
		return schema{}, err
	}
	for version := range applied {
		if build, declared := oldest[version]; version > m.version() && (!declared || build > m.version()) {
			return schema{}, fmt.Errorf("%w: it has migration %d, and this build knows those up to %d", ErrNewer, found.version, m.version())
		}
	}
	return found, nil
}

// applied returns the versions that the database has, and since when.
func (m *migrator) applied(ctx context.Context) (map[int64]time.Time, error) {
	return pairs[time.Time](ctx, m, goose.DefaultTablename, `select version_id, tstamp from goose_db_version where is_applied`)
}

// pairs returns the two columns that the query selects from the table, and none when the
// table is not there or may not be read.
func pairs[V any](ctx context.Context, m *migrator, table, query string) (map[int64]V, error) {
	fail := func(err error) (map[int64]V, error) { return nil, fmt.Errorf("reading the schema's version: %w", err) }
	var readable bool
	err := m.database.QueryRowContext(ctx, `select coalesce(has_table_privilege(to_regclass($1), 'select'), false)`, table).Scan(&readable)
	if err != nil {
		return fail(err)
	}
	found := map[int64]V{}
	if !readable {
		return found, nil
	}
	rows, err := m.database.QueryContext(ctx, query)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var version int64
		var value V
		if err := rows.Scan(&version, &value); err != nil {
			return fail(err)
		}
		found[version] = value
	}
	if err := rows.Err(); err != nil {
		return fail(err)
	}
	return found, nil
}

// sqlState is the code of an error of Postgres, and empty for any other.
func sqlState(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Code
	}
	return ""
}
