package db

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// ErrReadOnly reports a server that answers and takes no writes: a standby, or a
// primary that was demoted.
var ErrReadOnly = errors.New("the database is read-only")

// probeTimeout is how long one host may take to be connected to, and the database
// to answer.
const probeTimeout = 2 * time.Second

// A Probe tells whether the database takes writes. It has a connection of its own:
// pools whose connections are all busy say nothing about the database. One
// goroutine at a time may use it.
type Probe struct {
	config *pgconn.Config
	conn   *pgconn.PgConn
}

// NewProbe returns a probe of the database at url. It does not connect yet.
func NewProbe(url string, log *slog.Logger) (*Probe, error) {
	config, err := configure(url, log)
	if err != nil {
		return nil, err
	}
	config.ConnConfig.ConnectTimeout = min(config.ConnConfig.ConnectTimeout, probeTimeout)
	return &Probe{config: &config.ConnConfig.Config}, nil
}

// Check returns nil when the database takes writes, ErrReadOnly when it answers and
// does not, and else why it does not answer. A database that has no connection to
// spare is busy, not away.
func (p *Probe) Check(ctx context.Context) error {
	if p.conn != nil {
		// A connection that was ended, or hangs, is asked no further: it may be the
		// connection's own fault.
		if err := p.ask(ctx); err == nil {
			return nil
		}
	}
	conn, err := pgconn.ConnectConfig(ctx, p.config)
	if sqlState(err) == "53300" { // too_many_connections
		return nil
	}
	if err != nil {
		return err
	}
	p.conn = conn
	return p.ask(ctx)
}

// ask begins a transaction as a mutation's is begun. After an error the connection
// is closed.
func (p *Probe) ask(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	_, err := p.conn.Exec(asking, "begin read write; rollback -- probe").ReadAll()
	if err == nil {
		return nil
	}
	p.Close(ctx)
	switch sqlState(err) {
	case "25006", // read_only_sql_transaction
		"0A000": // feature_not_supported, which a standby says
		return ErrReadOnly
	}
	return fmt.Errorf("asking the database: %w", err)
}

// Close closes the connection. The probe stays usable.
func (p *Probe) Close(ctx context.Context) {
	if p.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	_ = p.conn.Close(ctx)
	p.conn = nil
}

// sqlState is the code of an error of Postgres, and empty for any other.
func sqlState(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Code
	}
	return ""
}
