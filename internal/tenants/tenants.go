// Package tenants is what operators do with all that is stored for a tenant: list, count,
// export and remove it. It works as the role of operators, which sees the rows of all
// tenants; the server does not use it.
//
// Every statement is bounded: in time by the caller, in rows by batches, in memory by one
// row at a time.
package tenants

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrTooSlow reports that what was asked for took longer than it was given.
var ErrTooSlow = errors.New("it took too long")

// A Database begins transactions: a connection or a pool of pgx.
type Database interface {
	BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error)
}

// A Usage is what is stored for a tenant.
type Usage struct {
	Tenant string `json:"tenant"`
	// Keys are those that are not purged yet, and Bytes what their results take, as Postgres
	// stores them: what TENANT_KEYS and TENANT_BYTES bound.
	Keys  int64 `json:"keys"`
	Bytes int64 `json:"bytes"`
	// Projects are the tenant's, archived or not, and ProjectBytes what their rows take.
	Projects     int64 `json:"projects"`
	ProjectBytes int64 `json:"projectBytes"`
	// NewestCall is when the newest of the keys executed.
	NewestCall *time.Time `json:"newestCall"`
}

// reading has use read one snapshot of the database, for so long. Zero is without end.
func reading(ctx context.Context, database Database, timeout time.Duration, use func(pgx.Tx) error) error {
	err := pgx.BeginTxFunc(ctx, database, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if err := set(ctx, tx, "statement_timeout", timeout); err != nil {
			return err
		}
		return use(tx)
	})
	if sqlState(err) == queryCanceled && ctx.Err() == nil {
		return fmt.Errorf("%w: %w", ErrTooSlow, err)
	}
	return err
}

// set sets a time-out for the transaction. Zero is none.
func set(ctx context.Context, tx pgx.Tx, name string, timeout time.Duration) error {
	// Literals, which distributed engines pass on to their workers.
	_, err := tx.Exec(ctx, fmt.Sprintf(`set local %s = '%dms'`, name, timeout.Milliseconds()))
	return err
}

// SQLSTATEs, https://www.postgresql.org/docs/current/errcodes-appendix.html.
const (
	queryCanceled    = "57014"
	lockNotAvailable = "55P03"
	deadlockDetected = "40P01"
)

// sqlState is the code of an error of Postgres, and empty for any other.
func sqlState(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Code
	}
	return ""
}
