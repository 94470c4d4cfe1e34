package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
	"github.com/pressly/goose/v3/lock"
)

const (
	// tryAgain is how long a server waits on average until it tries the lock again.
	tryAgain = 100 * time.Millisecond
	// remind is how long after the log said that a server waits it says so again.
	remind = time.Minute
	// unlockTimeout bounds the last statement of a session. Its end gives the lock back too.
	unlockTimeout = 5 * time.Second
)

// A locker lets one session at a time migrate and grant. The lock is goose's own, so that
// builds that take no other keep out too.
type locker struct{ log *slog.Logger }

// SessionLock implements lock.SessionLocker. It waits until ctx ends: a migration of a
// large table takes as long as it takes. It asks for the lock over and over, because a
// session that waits in the database has a snapshot, for which a CREATE INDEX CONCURRENTLY
// of the one that holds the lock would wait, and for ever.
func (l locker) SessionLock(ctx context.Context, conn *sql.Conn) error {
	var said time.Time
	for {
		var locked bool
		if err := conn.QueryRowContext(ctx, `select pg_try_advisory_lock($1)`, lock.DefaultLockID).Scan(&locked); err != nil {
			return fmt.Errorf("taking the lock of migrations: %w", err)
		}
		if locked {
			return nil
		}
		if time.Since(said) > remind {
			said = time.Now()
			l.log.Info("another server migrates the database; waiting for it")
		}
		select {
		case <-time.After(tryAgain/2 + rand.N(tryAgain)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// SessionUnlock implements lock.SessionLocker.
func (l locker) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, unlockTimeout)
	defer cancel()
	if _, err := conn.ExecContext(ctx, `select pg_advisory_unlock($1)`, lock.DefaultLockID); err != nil {
		return fmt.Errorf("giving back the lock of migrations: %w", err)
	}
	return nil
}

// locked calls do with a connection that has the lock.
func (m *migrator) locked(ctx context.Context, do func(context.Context, *sql.Conn) error) (err error) {
	conn, err := m.database.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := m.locker.SessionLock(ctx, conn); err != nil {
		return err
	}
	return errors.Join(do(ctx, conn), m.locker.SessionUnlock(context.WithoutCancel(ctx), conn))
}

// prepare makes the table of goose's versions, which goose would make without the lock.
func (m *migrator) prepare(ctx context.Context, conn *sql.Conn) error {
	store, err := database.NewStore(database.DialectPostgres, goose.DefaultTablename)
	if err != nil {
		return err
	}
	var there bool
	if err := conn.QueryRowContext(ctx, `select to_regclass($1) is not null`, store.Tablename()).Scan(&there); err != nil || there {
		return err
	}
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	err = store.CreateVersionTable(ctx, tx)
	if state := sqlState(err); state == duplicateTable || state == uniqueViolation {
		return nil // An older build, which takes no lock for that, made it meanwhile.
	} else if err != nil {
		return err
	}
	if err := store.Insert(ctx, tx, database.InsertRequest{Version: 0}); err != nil {
		return err
	}
	return tx.Commit()
}
