// Package cluster runs a PostgreSQL with a synchronous standby, each on a host of its
// own, and does to them what happens to databases.
package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/chaos/sandbox"
)

// Names are those of the hosts. The directory that New is given has one for each, which
// is its disk.
var Names = []string{"a", "b"}

// Database is the name of the servers' database. Roles are as docs/operations.md has
// them: the servers' own, and the owner of the tables.
const (
	Database = "onceql"
	Role     = "onceql"
	Owner    = "onceql_owner"
)

// A Cluster is a primary and its synchronous standby. One goroutine at a time may use it.
type Cluster struct {
	hosts [2]*Host
	// primary is the index of the host whose PostgreSQL takes writes.
	primary int
	// synchronousTo are the standbys that commits wait for.
	synchronousTo string
	// Bouncer is in front of the primary.
	Bouncer *Bouncer
}

// New makes an empty database on the first host, and a standby on the second.
func New(ctx context.Context, work string) (*Cluster, error) {
	// By their names: a copy that is being made would count as a standby.
	c, err := first(ctx, work, "ANY 1 (a, b)")
	if err != nil {
		return nil, err
	}
	if err := c.Rebuild(ctx); err != nil {
		return nil, err
	}
	c.Bouncer, err = newBouncer(work, c.Primary().as, c.Primary().Port)
	return c, err
}

// Alone makes an empty database on the first host, and nothing besides.
func Alone(ctx context.Context, work string) (*Cluster, error) { return first(ctx, work, "") }

func first(ctx context.Context, work, synchronousTo string) (*Cluster, error) {
	programs, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(programs) == 0 {
		return nil, errors.New("PostgreSQL is not installed")
	}
	as, err := sandbox.Unprivileged()
	if err != nil {
		return nil, err
	}
	c := &Cluster{synchronousTo: synchronousTo}
	for i, name := range Names {
		if c.hosts[i], err = newHost(work, name, programs[len(programs)-1], 5432+i, as); err != nil {
			return nil, err
		}
	}
	primary := c.Primary()
	if err := primary.run(ctx, "initdb", "-D", primary.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8",
		"--no-locale", "--no-sync", "--wal-segsize=1"); err != nil {
		return nil, err
	}
	if err := c.start(ctx, primary); err != nil {
		return nil, err
	}
	if err := c.makeDatabase(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// makeDatabase follows docs/operations.md.
func (c *Cluster) makeDatabase(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, c.Primary().URL("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, sql := range []string{
		`set synchronous_commit = local`, // There is no standby yet.
		`create role ` + Owner + ` login`,
		`create role ` + Role + ` login`,
		`create database ` + Database + ` owner ` + Owner + ` encoding 'UTF8' template template0`,
		`revoke all on database ` + Database + ` from public`,
		`grant connect on database ` + Database + ` to ` + Role,
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// Primary is the host that takes writes.
func (c *Cluster) Primary() *Host { return c.hosts[c.primary] }

// Standby is the other one.
func (c *Cluster) Standby() *Host { return c.hosts[1-c.primary] }

// Hosts are both, in the order of their names.
func (c *Cluster) Hosts() []*Host { return c.hosts[:] }

// start starts the host's PostgreSQL, as a standby where it has the sign of one.
func (c *Cluster) start(ctx context.Context, h *Host) error {
	other := c.hosts[0]
	if h == other {
		other = c.hosts[1]
	}
	return h.launch(ctx, map[string]string{
		"listen_addresses":            "127.0.0.1",
		"unix_socket_directories":     "",
		"max_connections":             "250",
		"shared_buffers":              "64MB",
		"checkpoint_timeout":          "30s",
		"min_wal_size":                "2MB",
		"max_wal_size":                "48MB",
		"wal_keep_size":               "16MB",
		"synchronous_standby_names":   c.synchronousTo,
		"primary_conninfo":            fmt.Sprintf("host=127.0.0.1 port=%d user=postgres application_name=%s", other.Port, h.Name),
		"wal_retrieve_retry_interval": "50ms",
		"wal_sender_timeout":          "5s",
		"wal_receiver_timeout":        "5s",
		"log_min_error_statement":     "panic",
		"log_checkpoints":             "off",
	})
}

// Recover sees to it that both hosts answer again and that the standby has what is
// committed, whatever ended which of them.
func (c *Cluster) Recover(ctx context.Context) error {
	for _, h := range []*Host{c.Primary(), c.Standby()} {
		var err error
		for range 5 {
			// After a crash PostgreSQL may still be on its way down.
			if h.process.Running() {
				err = h.await(ctx)
			} else {
				err = c.start(ctx, h)
			}
			if err == nil {
				break
			}
		}
		if err != nil {
			return err
		}
	}
	return c.AwaitStandby(ctx)
}

// Said is how often PostgreSQL said so, on both hosts, since the start.
func (c *Cluster) Said(what string) (int, error) {
	n := 0
	for _, h := range c.hosts {
		text, err := os.ReadFile(h.log)
		if err != nil {
			return 0, err
		}
		n += bytes.Count(text, []byte(what))
	}
	return n, nil
}

// ShutImmediately ends the primary as `pg_ctl stop -m immediate` does.
func (c *Cluster) ShutImmediately() {
	c.Primary().process.Stop(syscall.SIGQUIT, 10*time.Second)
}

// Fence makes sure that the primary acknowledges nothing any more.
func (c *Cluster) Fence() { c.Primary().Kill() }

// Promote makes the standby the primary and leads pgbouncer there, once Fence has ended
// the old one, which is down until Rebuild. All acknowledged commits are there.
func (c *Cluster) Promote(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, c.Standby().URL("postgres"))
	if err != nil {
		return fmt.Errorf("promoting host %s: %w", c.Standby().Name, err)
	}
	defer func() { _ = conn.Close(ctx) }()
	var promoted bool
	if err := conn.QueryRow(ctx, `select pg_promote(true, 30)`).Scan(&promoted); err != nil {
		return fmt.Errorf("promoting host %s: %w", c.Standby().Name, err)
	}
	if !promoted {
		return fmt.Errorf("host %s is not promoted in time", c.Standby().Name)
	}
	c.primary = 1 - c.primary
	return c.Bouncer.Lead(c.Primary().Port)
}

// Rebuild makes the host that is not the primary a standby anew, from a copy of the
// primary's data, and waits until commits are synchronous.
func (c *Cluster) Rebuild(ctx context.Context) error {
	h := c.Standby()
	if h.process != nil && h.process.Running() {
		h.Kill()
	}
	if err := os.RemoveAll(h.data()); err != nil {
		return err
	}
	if err := h.run(ctx, "pg_basebackup", "-D", h.data(), "-h", "127.0.0.1", "-p", strconv.Itoa(c.Primary().Port), "-U", "postgres",
		"--checkpoint=fast", "--wal-method=stream", "--no-sync"); err != nil {
		return err
	}
	return c.startStandby(ctx)
}

// startStandby starts the standby for the first time on its data.
func (c *Cluster) startStandby(ctx context.Context) error {
	h := c.Standby()
	signal := filepath.Join(h.data(), "standby.signal")
	if err := os.WriteFile(signal, nil, 0o644); err != nil { //nolint:gosec // PostgreSQL's user reads it.
		return err
	}
	if err := os.Chown(signal, int(h.as.Uid), int(h.as.Gid)); err != nil {
		return err
	}
	if err := c.start(ctx, h); err != nil {
		return err
	}
	return c.AwaitStandby(ctx)
}

// AwaitStandby waits until the standby has what is committed.
func (c *Cluster) AwaitStandby(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		synchronous, err := c.synchronous(ctx)
		if synchronous {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the standby does not follow: %w", errors.Join(ctx.Err(), err))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (c *Cluster) synchronous(ctx context.Context) (yes bool, err error) {
	conn, err := pgx.Connect(ctx, c.Primary().URL("postgres"))
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close(ctx) }()
	err = conn.QueryRow(ctx, `select exists (select from pg_stat_replication where state = 'streaming' and sync_state = 'quorum')`).Scan(&yes)
	return yes, err
}

// TerminateBackends ends about one of so many connections of the servers, whatever they
// are in, and returns how many.
func (c *Cluster) TerminateBackends(ctx context.Context, oneOf int) (ended int, err error) {
	conn, err := pgx.Connect(ctx, c.Primary().URL(Database))
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close(ctx) }()
	err = conn.QueryRow(ctx, `
		select count(*) filter (where pg_terminate_backend(pid))
		from pg_stat_activity
		where usename = $1 and random() * $2 < 1`, Role, oneOf).Scan(&ended)
	return ended, err
}
