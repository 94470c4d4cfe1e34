// Package db is the server's database: its pools, its probe and the queries on
// projects. It knows nothing of idempotency keys or GraphQL.
package db

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Open returns a pool of at most maxConns connections to the database at url. It
// does not connect yet: a database that is away for the moment is no error.
// Notices that Postgres sends, a warning on a COMMIT among them, go to log.
func Open(ctx context.Context, url string, maxConns int32, log *slog.Logger) (*pgxpool.Pool, error) {
	config, err := configure(url, log)
	if err != nil {
		return nil, err
	}
	config.MaxConns = maxConns
	config.MaxConnLifetimeJitter = 5 * time.Minute
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("opening the pool: %w", err)
	}
	return pool, nil
}

// configure is what all connections to the database at url have in common.
func configure(url string, log *slog.Logger) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		// The parser's error leaves the password out.
		return nil, fmt.Errorf("reading the database URL: %w", err)
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = 5 * time.Second
	}
	parameters := config.ConnConfig.RuntimeParams
	if parameters["application_name"] == "" {
		parameters["application_name"] = "onceql"
	}
	config.ConnConfig.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) {
		log.Warn("Postgres sent a notice", "severity", notice.SeverityUnlocalized, "code", notice.Code, "message", notice.Message)
	}
	return config, nil
}

// AboveRowSecurity says whether row-level security, the database's last barrier
// between tenants, does not hold the pool's role back.
func AboveRowSecurity(ctx context.Context, pool *pgxpool.Pool) (above bool, err error) {
	err = pool.QueryRow(ctx, `select rolsuper or rolbypassrls from pg_roles where rolname = current_user`).Scan(&above)
	if err != nil {
		return false, fmt.Errorf("reading the rights of the role: %w", err)
	}
	return above, nil
}
