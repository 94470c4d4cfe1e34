package db

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/internal/fair"
)

var (
	// ErrBusy reports a query that did not begin: too many wait, or it waited for as long
	// as it may.
	ErrBusy = errors.New("too many queries are waiting")
	// ErrSlow reports a query that the database ended, because it took longer than it may.
	ErrSlow = errors.New("the query took too long")
)

// Queries is where queries read: on connections of their own, which tenants share. One
// tenant has at most three quarters of them, and its share while others wait. A query that
// takes too long is ended.
type Queries struct {
	pool    *pgxpool.Pool
	gate    *fair.Gate
	timeout time.Duration
}

// shareOfQueries leaves a quarter of the connections to others than the busiest tenant.
const shareOfQueries = 3

// NewQueries returns the queries on the pool, of which so many may wait for a connection,
// and of one tenant a quarter of that. Each statement may take as long as timeout.
func NewQueries(pool *pgxpool.Pool, timeout time.Duration, waiting int) *Queries {
	return &Queries{pool: pool, timeout: timeout, gate: fair.New(fair.Config{
		Slots: int64(pool.Config().MaxConns), Share: shareOfQueries, Waiting: waiting, OfOne: max(1, waiting/4),
	})}
}

// Waiting is how many queries wait for their tenant's turn.
func (q *Queries) Waiting() int { return q.gate.Stats().Waiting }

// Timeout is how long each statement may take.
func (q *Queries) Timeout() time.Duration { return q.timeout }

// silence is how long the database may say nothing after a statement should have ended. It
// also bounds the wait for a lock on the table, as a migration has it, of a statement that is
// prepared: pgx does that before the batch.
const silence = 2 * time.Second

// Read waits for the tenant's turn and has read use a connection.
func (q *Queries) Read(ctx context.Context, tenant string, read func(context.Context, Conn) error) error {
	leave, err := q.gate.Enter(ctx, tenant, 1)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	conn, err := q.pool.Acquire(ctx)
	if err != nil {
		leave()
		return fmt.Errorf("connecting: %w", err)
	}
	defer release(conn, leave)
	ctx, cancel := context.WithTimeout(ctx, q.timeout+silence)
	defer cancel()
	began := time.Now()
	err = read(ctx, Conn{conn.Conn(), strconv.FormatInt(q.timeout.Milliseconds(), 10)})
	// Another may cancel a query too, with the same code.
	if sqlState(err) == "57014" && time.Since(began) >= q.timeout { // query_canceled
		return fmt.Errorf("%w: %w", ErrSlow, err)
	}
	return err
}

// release gives the connection back, and then leaves. One that was closed, as under callers
// who hang up, is the pool's until the database has ended what ran on it.
func release(conn *pgxpool.Conn, leave func()) {
	gone, closed := conn.Conn().PgConn().CleanupDone(), conn.Conn().IsClosed()
	conn.Release()
	if !closed {
		leave()
		return
	}
	go func() {
		<-gone
		leave()
	}()
}

// A Conn is a connection for queries.
type Conn struct {
	*pgx.Conn
	timeout string
}

// A parameter of the connection would say the same, but poolers refuse it.
const timeoutSQL = `select set_config('statement_timeout', $1, true)`

// SendBatch sends the batch, whose results go to the functions of its queries, and has the
// database end each statement that takes too long. A batch is a transaction.
func (c Conn) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	batch.QueuedQueries = slices.Insert(batch.QueuedQueries, 0, &pgx.QueuedQuery{SQL: timeoutSQL, Arguments: []any{c.timeout}})
	return c.Conn.SendBatch(ctx, batch)
}
