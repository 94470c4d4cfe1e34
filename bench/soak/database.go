package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/bench/postgres"
	"github.com/onceql/onceql/bench/program"
)

// changed is how many projects the updates take turns with.
const changed = 64

// changedID is the id of the n-th of them.
func changedID(n int) string { return fmt.Sprintf("01a20a28-0e1d-775f-8861-%012d", n%changed) }

// A database is the servers' own.
type database struct {
	program string
	// owner is its URL for who may change the schema.
	owner string
	conn  *pgx.Conn
}

// newDatabase makes one, brings it to the schema and builds the server.
func newDatabase(ctx context.Context, server *postgres.Server) (*database, error) {
	d := &database{program: filepath.Join(server.Work, "onceql")}
	var err error
	if d.owner, err = postgres.NewDatabase(ctx, server.URL(), "soak"); err != nil {
		return nil, err
	}
	if err := program.Build("..", d.program); err != nil {
		return nil, err
	}
	if err := program.Migrate(d.program, d.owner); err != nil {
		return nil, err
	}
	if d.conn, err = pgx.Connect(ctx, d.owner); err != nil {
		return nil, err
	}
	if _, err := d.conn.Exec(ctx, `create table notes (id bigserial primary key, at timestamptz not null default now())`); err != nil {
		return nil, err
	}
	for n := range changed {
		if _, err := d.conn.Exec(ctx, `insert into projects (tenant, id, name, created_at, updated_at)
			values ('', $1, 'Changed', now(), now())`, changedID(n)); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (d *database) close(ctx context.Context) { _ = d.conn.Close(ctx) }

// tidy removes what the calls made: a program that keeps all of it grows for a reason
// that is not the keys.
func (d *database) tidy(ctx context.Context) error {
	for _, sql := range []string{
		`delete from projects where name <> 'Changed' and id::text not like '01a20a28-0e1d-775f-8861-%' and created_at < now() - interval '30 seconds'`,
		`delete from notes where at < now() - interval '30 seconds'`,
	} {
		if _, err := d.conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// interrupt ends all connections of the servers and of the engine, as a restart of
// PostgreSQL does.
func (d *database) interrupt(ctx context.Context) error {
	_, err := d.conn.Exec(ctx, `
		select pg_terminate_backend(pid) from pg_stat_activity
		where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'`)
	return err
}
