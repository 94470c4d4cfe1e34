// Sizing measures what an operator plans with: what a call, a stored key and a connection
// take of the database, its disk and its memory, and how fast keys are removed. It prints
// the table of docs/operations/database.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/bench/postgres"
	"github.com/onceql/onceql/bench/program"
)

func main() {
	postgres.Supervise()
	duration := flag.Duration("duration", 3*time.Second, "how long each load is sent")
	keys := flag.Int("keys", 50_000, "how many keys are stored and purged")
	flag.Parse()
	if err := run(context.Background(), os.Stdout, *duration, *keys); err != nil {
		log.Fatal(err)
	}
}

// A measuring is a server on an empty database, and what has been found.
type measuring struct {
	out      io.Writer
	duration time.Duration
	keys     int
	owner    string
	conn     *pgx.Conn
	server   *program.Server
}

func run(ctx context.Context, out io.Writer, duration time.Duration, keys int) (err error) {
	started, err := postgres.Start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, started.Stop(ctx)) }()
	m := &measuring{out: out, duration: duration, keys: keys}
	if m.owner, err = postgres.NewDatabase(ctx, started.URL(), "sizing"); err != nil {
		return err
	}
	onceql := filepath.Join(started.Work, "onceql")
	if err := errors.Join(program.Build("..", onceql), program.Migrate(onceql, m.owner)); err != nil {
		return err
	}
	if m.conn, err = pgx.Connect(ctx, m.owner); err != nil {
		return err
	}
	defer func() { _ = m.conn.Close(ctx) }()
	if m.server, err = program.Start(append(program.Env(m.owner), "LOG_LEVEL=error"), onceql); err != nil {
		return err
	}
	defer m.server.Stop()
	fmt.Fprintf(out, "| what | measured |\n|---|---|\n")
	for _, step := range []func(context.Context) error{m.rates, m.memory, m.stored, m.purges} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// row prints one line of the table.
func (m *measuring) row(what, format string, args ...any) {
	fmt.Fprintf(m.out, "| %s | %s |\n", what, fmt.Sprintf(format, args...))
}

// number is what the query returns.
func (m *measuring) number(ctx context.Context, sql string) (n float64, err error) {
	if err := m.conn.QueryRow(ctx, sql).Scan(&n); err != nil {
		return 0, fmt.Errorf("%s: %w", sql, err)
	}
	return n, nil
}
