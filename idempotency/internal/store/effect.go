package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// An EffectTx is the transaction as an effect sees it: it can't end it, nor use it once
// it has returned.
type EffectTx struct {
	tx pgx.Tx
	// begun says that the effect has sent something, or may have.
	begun *bool
	// left is what may still be open: the connection has one result at a time.
	left *interface{ Close() error }
	// savepoint says that the effect began it, and may end it.
	savepoint bool
}

// Begun says whether the effect has sent a statement, or may have.
func (t *EffectTx) Begun() bool { return *t.begun }

// Run runs the effect. When it returns nil the transaction is as good as before.
// After a Failure of the owner Effect, Slow or Conflict it lasts, after any other it
// is over.
func (t *Tx) Run(ctx context.Context, effect func(*EffectTx) error) *Failure {
	handle := &EffectTx{tx: t.tx, begun: new(bool), left: new(interface{ Close() error })}
	failure := t.classify(ctx, handle, effect(handle))
	if failure != nil && failure.Owner != Effect && failure.Owner != Slow && failure.Owner != Conflict {
		t.close()
	}
	return failure
}

// classify says what the effect's error, and the state in which it left the transaction,
// mean.
func (t *Tx) classify(ctx context.Context, handle *EffectTx, err error) *Failure {
	conn := t.conn.Conn()
	if err == ErrAbandoned { //nolint:errorlint // It comes as it is, from the engine alone.
		// The effect may use the connection at this moment; it is no longer the pool's.
		_ = t.conn.Hijack().PgConn().Conn().Close()
		t.ended = true
		return &Failure{Late, err}
	}
	handle.tx = endedTx
	left := !conn.IsClosed() && conn.PgConn().IsBusy()
	if left && *handle.left != nil {
		_ = (*handle.left).Close()
	}
	switch {
	case ctx.Err() != nil:
		return &Failure{Late, fmt.Errorf("running the effect: %w", cmp.Or(err, ctx.Err()))}
	case conn.IsClosed(), conn.PgConn().IsBusy():
		return &Failure{Lost, fmt.Errorf("the connection broke during the effect: %w", cmp.Or(err, pgx.ErrTxClosed))}
	case conn.PgConn().TxStatus() == 'I', errors.Is(err, pgx.ErrTxClosed):
		return &Failure{Effect, errors.Join(ErrTransaction, err)}
	case err != nil:
		return running(err)
	case left:
		return &Failure{Effect, ErrRowsOpen}
	case conn.PgConn().TxStatus() != 'T':
		return &Failure{Effect, ErrTransaction}
	}
	return nil
}

// Back undoes everything since the claim, or since the last Keep, and sets how long a
// statement may wait for a lock from now on. It needs a claim of more than one key.
func (t *Tx) Back(ctx context.Context, lock time.Duration) *Failure {
	return t.send(ctx, "rollback to "+t.savepoint+"; set local lock_timeout = "+milliseconds(lock))
}

// Keep makes what was done since the claim, or since the last Keep, stand, once the
// constraints that it deferred hold. When they don't, the Failure has the owner Effect.
// The mode of the constraints stays as it was: later work may defer its own.
func (t *Tx) Keep(ctx context.Context) *Failure {
	return t.send(ctx, t.savepoint+"_check; set constraints all immediate; rollback to "+t.savepoint+"_check; "+
		"release "+t.savepoint+"; "+t.savepoint)
}

// send runs statements of the engine's own between those of the effect. They are not
// prepared: in a transaction that failed, Postgres prepares nothing but its end.
func (t *Tx) send(ctx context.Context, sql string) *Failure {
	err := t.conn.Conn().PgConn().Exec(ctx, sql).Close()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		t.close()
		return &Failure{Late, err}
	case t.conn.Conn().IsClosed():
		t.close()
		return &Failure{Lost, err}
	}
	failure := running(fmt.Errorf("checking what the effect deferred: %w", err))
	if failure.Owner == Lost {
		t.close()
	}
	return failure
}

// endedTx stands in for the transaction once the effect has returned: all of its
// methods report pgx.ErrTxClosed.
var endedTx = func() pgx.Tx {
	var batch pgx.Batch
	batch.BeginTx(txOptions)
	return pgx.FailedBatchResults(&batch, pgx.ErrTxClosed).Tx()
}()

// Commit refuses, but for a savepoint of the effect's own.
func (t *EffectTx) Commit(ctx context.Context) error {
	if !t.savepoint {
		return ErrTransaction
	}
	return t.tx.Commit(ctx)
}

// Rollback refuses, but for a savepoint of the effect's own.
func (t *EffectTx) Rollback(ctx context.Context) error {
	if !t.savepoint {
		return ErrTransaction
	}
	return t.tx.Rollback(ctx)
}

// use returns the transaction for a statement, and one that has ended when the
// statement would end it. After that nothing is done any more: it would stand by itself.
func (t *EffectTx) use(sql ...string) pgx.Tx {
	*t.begun = true
	conn := t.tx.Conn()
	if slices.ContainsFunc(sql, ends) || conn != nil && !conn.IsClosed() && conn.PgConn().TxStatus() == 'I' {
		return endedTx
	}
	return t.tx
}

// ends says whether the statement begins like one that ends its transaction.
func ends(sql string) bool {
	words := strings.Fields(strings.ToLower(sql[:min(len(sql), 64)]))
	if len(words) == 0 {
		return false
	}
	switch strings.TrimRight(words[0], ";") {
	case "commit", "end", "abort":
		return true
	case "rollback":
		return !slices.Contains(words, "to")
	case "prepare":
		return len(words) > 1 && words[1] == "transaction"
	}
	return false
}

// Begin sets a savepoint, which the effect may commit or roll back.
func (t *EffectTx) Begin(ctx context.Context) (pgx.Tx, error) {
	tx, err := t.use().Begin(ctx)
	if err != nil {
		return nil, err
	}
	return &EffectTx{tx: tx, begun: t.begun, left: t.left, savepoint: true}, nil
}

// CopyFrom implements pgx.Tx.
func (t *EffectTx) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	return t.use().CopyFrom(ctx, table, columns, rows)
}

// SendBatch implements pgx.Tx.
func (t *EffectTx) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	var sql []string
	for _, queued := range batch.QueuedQueries {
		sql = append(sql, queued.SQL)
	}
	results := t.use(sql...).SendBatch(ctx, batch)
	*t.left = results
	return results
}

// LargeObjects implements pgx.Tx.
func (t *EffectTx) LargeObjects() pgx.LargeObjects {
	return t.use().LargeObjects()
}

// Prepare implements pgx.Tx.
func (t *EffectTx) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	return t.use(sql).Prepare(ctx, name, sql)
}

// Exec implements pgx.Tx.
func (t *EffectTx) Exec(ctx context.Context, sql string, arguments ...any) (pgconn.CommandTag, error) {
	return t.use(sql).Exec(ctx, sql, arguments...)
}

// Query implements pgx.Tx.
func (t *EffectTx) Query(ctx context.Context, sql string, arguments ...any) (pgx.Rows, error) {
	rows, err := t.use(sql).Query(ctx, sql, arguments...)
	*t.left = closing{rows}
	return rows, err
}

// QueryRow implements pgx.Tx.
func (t *EffectTx) QueryRow(ctx context.Context, sql string, arguments ...any) pgx.Row {
	rows, err := t.Query(ctx, sql, arguments...)
	return &row{rows, err}
}

// A row is what pgx returns for QueryRow, but one that can be closed without a Scan.
type row struct {
	rows pgx.Rows
	err  error
}

// Scan implements pgx.Row.
func (r *row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.rows.Close()
	if !r.rows.Next() {
		return cmp.Or(r.rows.Err(), pgx.ErrNoRows)
	}
	if err := r.rows.Scan(dest...); err != nil {
		return err
	}
	r.rows.Close()
	return r.rows.Err()
}

// Conn is the transaction's connection. What the effect does with it can't be seen, so
// it counts as a statement.
func (t *EffectTx) Conn() *pgx.Conn {
	return t.use().Conn()
}

// closing makes a Close of what has nothing to report.
type closing struct{ rows interface{ Close() } }

// Close closes the rows.
func (c closing) Close() error {
	c.rows.Close()
	return nil
}
