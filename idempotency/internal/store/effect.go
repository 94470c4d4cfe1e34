package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// An EffectTx is the transaction as an effect sees it: it can't end it, nor use it once
// it has returned.
type EffectTx struct {
	tx  pgx.Tx
	run *run
	// savepoint says that the effect began it, and may end it.
	savepoint bool
}

// A run is what the handles of one run of an effect share.
type run struct {
	// begun says that the effect has sent something, or may have; over, that it has
	// returned.
	begun, over atomic.Bool
	// statements is held while a statement of the effect runs.
	statements sync.Mutex
	// left is what may still be open: the connection has one result at a time.
	left interface{ Close() error }
	// encoding is the client's, as the run found it.
	encoding string
}

// encoding is a setting that no statement could put back: all that is sent is read by it.
const encoding = "client_encoding"

// Begun says whether the effect has sent a statement, or may have.
func (t *EffectTx) Begun() bool { return t.run.begun.Load() }

// maxClosing is how long a result that an effect left open is read.
const maxClosing = 250 * time.Millisecond

// Run runs the effect. When it returns nil the transaction is as good as before.
// After a Failure of the owner Effect, Slow or Conflict it lasts, after any other it
// is over.
func (t *Tx) Run(ctx context.Context, effect func(*EffectTx) error) *Failure {
	handle := &EffectTx{tx: t.tx, run: &run{encoding: t.conn.Conn().PgConn().ParameterStatus(encoding)}}
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
	handle.run.over.Store(true)
	if !handle.run.statements.TryLock() {
		err = ErrAbandoned // A goroutine of the effect goes on.
	}
	if err == ErrAbandoned { //nolint:errorlint // It comes as it is, from the engine alone.
		t.Abandon()
		return &Failure{Late, err}
	}
	left := !conn.IsClosed() && conn.PgConn().IsBusy()
	if left && handle.run.left != nil {
		// To close a result is to read it to its end, which may not come.
		_ = conn.PgConn().Conn().SetDeadline(time.Now().Add(maxClosing))
		_ = handle.run.left.Close()
		_ = conn.PgConn().Conn().SetDeadline(time.Time{})
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
	case conn.PgConn().ParameterStatus(encoding) != handle.run.encoding:
		return &Failure{Effect, ErrSettings}
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
	tx, done := t.use()
	defer done()
	return tx.Commit(ctx)
}

// Rollback refuses, but for a savepoint of the effect's own.
func (t *EffectTx) Rollback(ctx context.Context) error {
	if !t.savepoint {
		return ErrTransaction
	}
	tx, done := t.use()
	defer done()
	return tx.Rollback(ctx)
}

// use returns the transaction for a statement, and what to call when it is over; or one
// that has ended, when the effect has returned, another of its goroutines runs a
// statement, or the statement would end the transaction. After the transaction nothing is
// done any more: it would commit by itself.
func (t *EffectTx) use(sql ...string) (tx pgx.Tx, done func()) {
	if t.run.over.Load() || !t.run.statements.TryLock() {
		return endedTx, func() {}
	}
	t.run.begun.Store(true)
	conn := t.tx.Conn()
	if slices.ContainsFunc(sql, ends) || conn != nil && !conn.IsClosed() && conn.PgConn().TxStatus() == 'I' {
		return endedTx, t.run.statements.Unlock
	}
	return t.tx, t.run.statements.Unlock
}

// Begin sets a savepoint, which the effect may commit or roll back.
func (t *EffectTx) Begin(ctx context.Context) (pgx.Tx, error) {
	tx, done := t.use()
	defer done()
	nested, err := tx.Begin(ctx)
	if err != nil {
		return nil, err
	}
	return &EffectTx{tx: nested, run: t.run, savepoint: true}, nil
}

// CopyFrom implements pgx.Tx. pgx asks the source in a goroutine of its own, where a
// panic would end the process: it is the effect's, here.
func (t *EffectTx) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	source := &copySource{source: rows}
	tx, done := t.use()
	defer done()
	n, err := tx.CopyFrom(ctx, table, columns, source)
	if source.panicked != nil {
		panic(source.panicked)
	}
	return n, err
}

type copySource struct {
	source   pgx.CopyFromSource
	panicked any
}

var errCopySource = errors.New("the source of a copy panicked")

// Next implements pgx.CopyFromSource.
func (s *copySource) Next() (more bool) {
	defer s.recover(nil)
	return s.source.Next()
}

// Values implements pgx.CopyFromSource.
func (s *copySource) Values() (values []any, err error) {
	defer s.recover(&err)
	return s.source.Values()
}

// Err implements pgx.CopyFromSource.
func (s *copySource) Err() (err error) {
	if s.panicked != nil {
		return errCopySource
	}
	defer s.recover(&err)
	return s.source.Err()
}

func (s *copySource) recover(err *error) {
	if value := recover(); value != nil {
		s.panicked = value
		if err != nil {
			*err = errCopySource
		}
	}
}

// SendBatch implements pgx.Tx.
func (t *EffectTx) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	var sql []string
	for _, queued := range batch.QueuedQueries {
		sql = append(sql, queued.SQL)
	}
	tx, done := t.use(sql...)
	defer done()
	results := tx.SendBatch(ctx, batch)
	t.run.left = results
	return results
}

// LargeObjects implements pgx.Tx.
func (t *EffectTx) LargeObjects() pgx.LargeObjects {
	tx, done := t.use()
	defer done()
	return tx.LargeObjects()
}

// Prepare implements pgx.Tx.
func (t *EffectTx) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	tx, done := t.use(sql)
	defer done()
	return tx.Prepare(ctx, name, sql)
}

// Exec implements pgx.Tx.
func (t *EffectTx) Exec(ctx context.Context, sql string, arguments ...any) (pgconn.CommandTag, error) {
	tx, done := t.use(sql)
	defer done()
	return tx.Exec(ctx, sql, arguments...)
}

// Query implements pgx.Tx.
func (t *EffectTx) Query(ctx context.Context, sql string, arguments ...any) (pgx.Rows, error) {
	tx, done := t.use(sql)
	defer done()
	rows, err := tx.Query(ctx, sql, arguments...) //nolint:sqlclosecheck // The effect closes them, or classify does.
	t.run.left = closing{rows}
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
	tx, done := t.use()
	defer done()
	return tx.Conn()
}

// closing makes a Close of what has nothing to report.
type closing struct{ rows interface{ Close() } }

// Close closes the rows.
func (c closing) Close() error {
	c.rows.Close()
	return nil
}
