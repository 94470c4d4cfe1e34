// Package store has every statement on the table idempotency_keys.
//
// The protocol is one READ COMMITTED transaction in two round trips besides the
// effect's own. Claim begins it, tries a transaction-level advisory lock on each key
// and, in a statement of its own whose snapshot is newer than the locks, looks for the
// rows. Commit checks what the effect deferred, puts back what it changed, inserts the
// rows and commits. The locks save work; the primary key decides.
//
// What fails is returned as a Failure, which says whose it is. Nothing above this
// package reads an SQLSTATE.
package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// An Owner says whose failure it is. Those up to Late came up while an effect ran.
type Owner int

const (
	// Effect means: the effect's own error. The transaction lasts, but for what the effect
	// did; Run and Commit leave it to Back or End.
	Effect Owner = iota
	// Slow means: a statement of the effect waited for a lock, or ran, for longer than its
	// limit. Otherwise like Effect.
	Slow
	// Conflict means: nobody's. The transaction had a conflict with another, or found the
	// server short of something.
	Conflict
	// Lost means: nobody's. The transaction itself is gone: its connection was closed by the
	// effect or by the network, or a prepared statement was taken away.
	Lost
	// Late means: the effect did not return in time.
	Late
	// Race means: the rows could not be inserted, most likely because another execution
	// committed one of the keys first.
	Race
	// Deployment means: the table or its rights are not what they have to be.
	Deployment
	// Database means: it could not be reached, or could not take anything; no effect is to
	// blame.
	Database
	// Unknown means: a COMMIT was sent and not answered as it should be.
	Unknown
)

// A Failure is an error and whose it is.
type Failure struct {
	Owner Owner
	Err   error
}

// Told says that Postgres answered with the error, and that it is not a transient one:
// when it comes again, it is the call's own.
func (f *Failure) Told() bool {
	switch c := code(f.Err); class(c) {
	case "", "08", "40", "53", "57", "58", "XX":
		return false
	default:
		return c != "25006" &&
			// The session waited for its next statement, or the transaction lasted, for too
			// long by the server's clock, which may have been set.
			c != "25P03" && c != "25P04"
	}
}

// Error returns the error's text.
func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap returns the error.
func (f *Failure) Unwrap() error { return f.Err }

var (
	// ErrAbandoned is what a run returns when it left an effect behind that does not
	// heed its context. The connection is closed under it.
	ErrAbandoned = errors.New("the effect did not return when its budget was over")
	// ErrTransaction reports an effect that ended or broke its transaction.
	ErrTransaction = errors.New("effects must not commit or roll back their transaction, nor go on after an error in it")
	// ErrRowsOpen reports an effect that left a result open. It is an ErrTransaction.
	ErrRowsOpen = fmt.Errorf("%w: rows or batch results were left open", ErrTransaction)
	// ErrSettings reports an effect that changed a setting which can't be put back. It
	// is an ErrTransaction.
	ErrSettings = fmt.Errorf("%w: settings were changed that can't be put back", ErrTransaction)
	// ErrNoTable reports that there is no table idempotency_keys on the search_path.
	ErrNoTable = errors.New("there is no table idempotency_keys on the search_path: apply idempotency.Schema")
	errNoticed = errors.New("COMMIT came with a notice, perhaps that no standby has it")
)

// A Store is the table in one database. It is safe for use by many goroutines.
type Store struct {
	pool *pgxpool.Pool
	sql  atomic.Pointer[statements]
}

// New returns the store that the pool's connections reach.
func New(pool *pgxpool.Pool) *Store { return &Store{pool: pool} }

// SQLSTATEs and classes, https://www.postgresql.org/docs/current/errcodes-appendix.html.
func code(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Code
	}
	return ""
}

func class(code string) string { return code[:min(2, len(code))] }

// stale says whether the server lacks a prepared statement that it should have, or has
// another under its name: a pooler or a migration took it away.
func stale(code string) bool {
	return code == "26000" || code == "42P05" || code == "0A000"
}

// claiming classifies what failed before any effect began.
func (s *Store) claiming(ctx context.Context, conn *pgx.Conn, step string, err error) *Failure {
	err = fmt.Errorf("%s: %w", step, err)
	switch c := code(err); {
	case ctx.Err() != nil: // That says nothing of the server.
		_ = conn.Close(canceled)
	case errors.Is(err, ErrNoTable), errors.As(err, new(unfit)):
		return &Failure{Deployment, err}
	case errors.Is(err, errSession):
		return &Failure{Lost, err}
	case c == "25006", c == "0A000" && step == beginning, strings.HasPrefix(c, "57P"), c == "" && conn.IsClosed():
		// A server that is going away, or that is a standby now. Whatever else the pool
		// has idle is no better.
		_ = conn.Close(canceled)
		s.pool.Reset()
	case stale(c):
		_ = conn.Close(canceled)
		return &Failure{Lost, err}
	}
	return s.asking(err)
}

// asking classifies what failed on a connection of which nothing more is known.
func (s *Store) asking(err error) *Failure {
	switch c := code(err); {
	case errors.Is(err, ErrNoTable):
		return &Failure{Deployment, err}
	case class(c) == "42", class(c) == "3F":
		s.sql.Store(nil)
		return &Failure{Deployment, err}
	}
	return &Failure{Database, err}
}

// running classifies the error of an effect while its connection lasts.
func running(err error) *Failure {
	switch c := code(err); {
	case c == "57014", // query_canceled, by statement_timeout
		c == "55P03": // lock_not_available
		return &Failure{Slow, err}
	case c == "40001", // serialization_failure
		c == "40P01", // deadlock_detected
		c == "25006", // read_only_sql_transaction: a server that was demoted
		class(c) == "08", class(c) == "53", class(c) == "57", class(c) == "58":
		return &Failure{Conflict, err}
	case stale(c):
		return &Failure{Lost, err}
	}
	return &Failure{Effect, err}
}

// inserting classifies the error of the rows' insert. Who lost a race is known by the
// statement that failed: distributed engines report it with XX000 and other
// constraints' names.
func inserting(err error) *Failure {
	err = fmt.Errorf("storing the outcome: %w", err)
	switch c := code(err); {
	case c == "23505", c == "55P03", c == "40P01", c == "XX000":
		return &Failure{Race, err}
	case class(c) == "40", class(c) == "57", class(c) == "08", class(c) == "53", class(c) == "58", c == "25006":
		return &Failure{Database, err}
	}
	return &Failure{Deployment, err}
}

// canceled makes Close of a connection that is of no use any more return at once.
var canceled = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background()) //nolint:forbidigo // It bounds nothing.
	cancel()
	return ctx
}()
