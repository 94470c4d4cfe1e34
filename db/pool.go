// Package db is the server's database: its servers, its pools and the queries on
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

// LosesCommits returns which settings of the server are off without which a crash of its
// machine may lose what was committed, or tear it. What is committed with a key does not
// depend on synchronous_commit, which its transactions set.
func LosesCommits(ctx context.Context, pool *pgxpool.Pool) (off []string, err error) {
	err = pool.QueryRow(ctx, `
		select array(select name from pg_settings where name in ('fsync', 'full_page_writes') and setting = 'off' order by name)`).Scan(&off)
	if err != nil {
		return nil, fmt.Errorf("reading the server's settings: %w", err)
	}
	return off, nil
}
