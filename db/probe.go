package db

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// probeTimeout is how long one server may take to be connected to, and to answer. A commit
// that waits for a standby for longer than that counts as one that hangs.
const probeTimeout = 2 * time.Second

// A finding is what a server said.
type finding struct {
	// err says why it takes no writes.
	err error
	// full says that it has no connection to spare.
	full bool
	// system is the cluster that the server is of, and timeline what it writes to; empty
	// and 0 when it does not say.
	system   string
	timeline uint32
	// oldHung says that the connection of before hung, and that a new one does not.
	oldHung bool
	// pooled says that a pooler is in front of the server.
	pooled bool
	// commitsWait says that commits have waited for a standby for too long, and alone
	// that they would, because no standby is connected.
	commitsWait, alone bool
}

// ask asks the server, on a connection of its own: pools whose connections are all busy
// say nothing about the database. One goroutine at a time may use it.
func (h *host) ask(ctx context.Context, timeline bool) finding {
	hung := false
	if h.conn != nil {
		// A connection that was ended, or hangs, is asked no further: it may be the
		// connection's own fault.
		found := h.askConn(ctx, timeline)
		if found.err == nil {
			return found
		}
		hung = pgconn.Timeout(found.err)
	}
	conn, err := pgconn.ConnectConfig(ctx, h.config)
	if sqlState(err) == "53300" { // too_many_connections
		return finding{full: true}
	}
	if err != nil {
		return finding{err: err}
	}
	h.conn, h.noTimeline, h.noStandby, h.pooled = conn, false, false, false
	h.pooled = h.askPooler(ctx)
	found := h.askConn(ctx, timeline)
	found.oldHung = hung
	return found
}

// askConn begins a transaction as a mutation's is begun, and then asks for the rest. After
// an error the connection is closed.
func (h *host) askConn(ctx context.Context, timeline bool) (found finding) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	defer func() {
		found.pooled = h.pooled
		if found.err != nil {
			h.close(ctx)
		}
	}()
	_, err := h.conn.Exec(ctx, "begin read write; rollback -- probe").ReadAll()
	switch sqlState(err) {
	case "25006", // read_only_sql_transaction
		"0A000": // feature_not_supported, which a standby says
		return finding{err: ErrReadOnly}
	}
	if err == nil && timeline && !h.noTimeline {
		err = h.askTimeline(ctx, &found)
	}
	if err == nil && !h.noStandby {
		err = h.askStandby(ctx, &found)
	}
	if err != nil {
		return finding{err: fmt.Errorf("asking the database: %w", err)}
	}
	return found
}

// The name of a file of the log begins with the timeline. Every role may ask for both.
const timelineSQL = `select system_identifier, left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) from pg_control_system() -- probe`

func (h *host) askTimeline(ctx context.Context, found *finding) error {
	row, err := h.row(ctx, timelineSQL, 2, &h.noTimeline)
	if row == nil {
		return err
	}
	timeline, err := strconv.ParseUint(row[1], 16, 32)
	if err != nil {
		return fmt.Errorf("reading the timeline: %w", err)
	}
	found.system, found.timeline = row[0], uint32(timeline)
	return nil
}

// A role sees of other roles' sessions that they are there, and of its own what they wait
// for: commits of servers with this role.
const (
	synchronousSQL = `select 1 where current_setting('synchronous_standby_names') <> '' -- probe`
	standbySQL     = `select
	exists (select from pg_stat_activity where wait_event = 'SyncRep' and query_start < clock_timestamp() - interval '2 s'),
	not exists (select from pg_stat_replication) -- probe`
)

func (h *host) askStandby(ctx context.Context, found *finding) error {
	if row, err := h.row(ctx, synchronousSQL, 1, &h.noStandby); row == nil {
		return err
	}
	row, err := h.row(ctx, standbySQL, 2, &h.noStandby)
	if row != nil {
		found.commitsWait, found.alone = row[0] == "t", row[1] == "t"
	}
	return err
}

// row returns the only row of the result, which has to have so many columns. Where there is
// none it is nil. When the server has no such function, or no right on it for the role,
// unable is set besides: the question would fill its log.
func (h *host) row(ctx context.Context, sql string, columns int, unable *bool) ([]string, error) {
	results, err := h.conn.Exec(ctx, sql).ReadAll()
	if state := sqlState(err); state != "" && !h.conn.IsClosed() {
		*unable = strings.HasPrefix(state, "42") || strings.HasPrefix(state, "0A")
		return nil, nil
	}
	if err != nil || len(results) != 1 || len(results[0].Rows) != 1 {
		return nil, err
	}
	if got := len(results[0].Rows[0]); got != columns { // Whatever answers there, it is no PostgreSQL.
		return nil, fmt.Errorf("%d columns in place of %d", got, columns)
	}
	var row []string
	for _, value := range results[0].Rows[0] {
		row = append(row, string(value))
	}
	return row, nil
}

// close closes the probe's connection.
func (h *host) close(ctx context.Context) {
	if h.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
	defer cancel()
	_ = h.conn.Close(ctx)
	h.conn = nil
}

// tryCommit commits something where no standby is connected, so that the commits' wait is
// known before a mutation's has to wait. The commit waits as long as there is none: it is
// one session, whoever looks at sessions finds it as any other. The caller holds the
// mutex.
func (c *Cluster) tryCommit(ctx context.Context, h *host) {
	if c.trying || time.Since(c.tried) < probeTimeout {
		return
	}
	c.trying, c.tried = true, time.Now()
	config := h.config.Copy()
	config.DialFunc = c.linked(h, config.DialFunc)
	c.asking.Go(func() {
		if conn, err := pgconn.ConnectConfig(ctx, config); err == nil {
			_, _ = conn.Exec(ctx, `begin; set local synchronous_commit = on; select pg_logical_emit_message(true, 'onceql', ''); commit -- probe`).ReadAll()
			_ = conn.Close(ctx)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.trying = false
	})
}

// sqlState is the code of an error of Postgres, and empty for any other.
func sqlState(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Code
	}
	return ""
}
