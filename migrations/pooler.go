package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/stdlib"
)

// ErrPooler reports a pooler that gives each transaction another session. The lock of
// migrations is a session's: taken there it keeps nobody out, and may stay for ever.
var ErrPooler = errors.New("a pooler that does not keep sessions is in front of the database, and migrations need one: " +
	"MIGRATION_DATABASE_URL has to lead to PostgreSQL itself")

// A pooler whose clients keep their sessions may have no other session to spare.
const secondSession = 2 * time.Second

// checkSession returns ErrPooler where two statements of a client may run in two sessions.
// What it can't find out is no error.
func (m *migrator) checkSession(ctx context.Context) error {
	conn, err := m.database.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	told, actual, err := processes(ctx, conn)
	if err != nil || told == actual {
		return err
	}
	// It is a pooler: it told its client of a process of its own making.
	ctx, cancel := context.WithTimeout(ctx, secondSession)
	defer cancel()
	other, err := m.database.Conn(ctx)
	if err != nil {
		return nil // There is no second session: the first one is kept.
	}
	defer func() { _ = other.Close() }()
	// The process that a client leaves is the next one's, or else is the first in a queue.
	for range 5 {
		_, before, err := processes(ctx, conn)
		if err != nil {
			return nil // Whatever this is, migrating will tell.
		}
		_, others, err := processes(ctx, other)
		if err != nil {
			return nil
		}
		_, after, err := processes(ctx, conn)
		if err != nil {
			return nil
		}
		if before == others || before != after {
			return ErrPooler
		}
	}
	return nil
}

// processes returns the server's process that the connection was told of when it began, and
// the one that answers.
func processes(ctx context.Context, conn *sql.Conn) (told, actual uint32, err error) {
	if err := conn.QueryRowContext(ctx, `select pg_backend_pid()`).Scan(&actual); err != nil {
		return 0, 0, fmt.Errorf("asking for the session: %w", err)
	}
	err = conn.Raw(func(driver any) error {
		if c, ok := driver.(*stdlib.Conn); ok {
			told = c.Conn().PgConn().PID()
		}
		return nil
	})
	return told, actual, err
}
