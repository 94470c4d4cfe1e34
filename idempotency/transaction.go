package idempotency

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// READ COMMITTED, because a look-up after the lock needs a newer snapshot than
// the lock's statement; READ WRITE, because a standby must refuse: what it shows
// may be lost at a failover.
var txOptions = pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}

// A transaction holds what the first round trip brought for a group's keys.
type transaction struct {
	conn *pgx.Conn
	tx   pgx.Tx
	// now is the database's time for everything that the transaction does.
	now time.Time
	// locked says of each key whether its lock is this transaction's.
	locked []bool
	// rows are those of the keys that have one.
	rows map[identity]record
	// synchronous says whether commits wait for a standby.
	synchronous bool
}

// The settings are the transaction's own; the last of them is for policies that
// keep scopes apart, see Schema. The locks are tried, not waited for:
// whoever waits does so outside Postgres, where that holds no connection.
const prepareSQL = `
select now(),
	current_setting('synchronous_standby_names') <> '',
	set_config('statement_timeout', $1, true),
	set_config('lock_timeout', $1, true),
	set_config('idle_in_transaction_session_timeout', $1, true),
	set_config('onceql.enable_seqscan', current_setting('enable_seqscan'), true),
	set_config('enable_seqscan', 'off', true),
	set_config('onceql.tenants', ($3::text[])::text, true),
	array(
		select pg_try_advisory_xact_lock(l)
		from unnest($2::bigint[]) with ordinality as locks (l, n)
		order by n
	)`

// A statement of its own after the locks, so that its snapshot is newer than
// theirs: whoever held the lock before has become visible. Every key is looked up
// in the primary key, whatever the planner believes: a plan that it made for a
// small table, and that pgx keeps, would scan the table when it is large. The
// arrays are selected, so that the planner does not see how long they are: it
// would find each worth a plan of its own. What the effect does is planned as its
// author means it again, once this is planned.
const (
	lookupSQL = `
select ` + recordColumns + `
from unnest((select $1::text[]), (select $2::text[])) as wanted (scope, key)
cross join lateral (
	select *
	from idempotency_keys as stored
	where stored.scope = wanted.scope and stored.key = wanted.key
	limit 1
) as found
where ` + restoreSQL
	// For keys of one scope, which a distributed engine has in one place.
	lookupInScopeSQL = `
select ` + recordColumns + `
from unnest((select $2::text[])) as wanted (key)
cross join lateral (
	select *
	from idempotency_keys as stored
	where stored.scope = $1 and stored.key = wanted.key
	limit 1
) as found
where ` + restoreSQL
	restoreSQL = `(select set_config('enable_seqscan', current_setting('onceql.enable_seqscan'), true)) is not null`
)

// begin is round trip 1: it begins, tries the keys' locks and looks for their
// rows. The transaction is over when it returns an error.
func (e *Engine) begin(ctx context.Context, conn *pgx.Conn, group []*execution) (*transaction, error) {
	locks := make([]int64, len(group))
	scopes, keys := make([]string, len(group)), make([]string, len(group))
	for i, x := range group {
		id := x.flight.identity
		locks[i], scopes[i], keys[i] = id.lock(), id.scope, id.key
	}
	budget := strconv.FormatInt(e.config.Budget.Milliseconds(), 10)
	t := &transaction{conn: conn}
	var found []record

	var batch pgx.Batch
	batch.BeginTx(txOptions)
	batch.Queue(prepareSQL, budget, locks, slices.Compact(slices.Clone(scopes))).QueryRow(func(row pgx.Row) error {
		var ignored string
		return row.Scan(&t.now, &t.synchronous, &ignored, &ignored, &ignored, &ignored, &ignored, &ignored, &t.locked)
	})
	lookup := batch.Queue(lookupSQL, scopes, keys)
	if scopes[0] == scopes[len(scopes)-1] { // They are sorted.
		lookup.SQL, lookup.Arguments = lookupInScopeSQL, []any{scopes[0], keys}
	}
	lookup.Query(func(rows pgx.Rows) (err error) {
		found, err = pgx.CollectRows(rows, scanRecord)
		return err
	})
	results := conn.SendBatch(ctx, &batch)
	err := results.Close()
	t.tx = results.Tx()
	if err != nil {
		t.rollback(ctx)
		return nil, ownError("looking the key up", err)
	}
	t.rows = make(map[identity]record, len(group))
	for _, row := range found {
		row.expired = !row.expiresAt.After(t.now)
		t.rows[row.identity] = row
	}
	return t, nil
}

// insertSQL returns its rows: a distributed engine takes another and worse path
// for inserts that return nothing.
const insertSQL = `
insert into idempotency_keys (scope, key, operation, request_hash, hash_version, response_json,
	request_id, execution_id, created_at, expires_at)
select scope, key, operation, request_hash, hash_version, response_json::json,
	nullif(request_id, ''), execution_id::uuid, $9, $10
from unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::smallint[], $6::text[], $7::text[], $8::text[])
	as rows (scope, key, operation, request_hash, hash_version, response_json, request_id, execution_id)
returning 1`

// commit is round trip 2: it inserts the rows and commits. It returns nil when
// that is certain, errLostRace when the insert failed and all is rolled back,
// and errUnknown in any other case. It has a budget of its own.
func (t *transaction) commit(ctx context.Context, rows []record, budget time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), budget)
	defer cancel()

	n := len(rows)
	scopes, keys, operations := make([]string, n), make([]string, n), make([]string, n)
	hashes, versions, responses := make([][]byte, n), make([]int16, n), make([]string, n)
	// Ids as text: pgx can't tell the type of [][16]byte without asking Postgres,
	// and in the mode that poolers need it does not ask.
	requestIDs, executionIDs := make([]string, n), make([]string, n)
	for i, r := range rows {
		scopes[i], keys[i], operations[i] = r.scope, r.key, r.operation
		hashes[i], versions[i], responses[i] = r.hash, r.hashVersion, string(r.response)
		requestIDs[i], executionIDs[i] = r.requestID, uuid.UUID(r.executionID).String()
	}
	var batch pgx.Batch
	batch.Queue(insertSQL, scopes, keys, operations, hashes, versions, responses, requestIDs, executionIDs,
		rows[0].createdAt, rows[0].expiresAt)
	batch.Queue("commit")
	results := t.conn.SendBatch(ctx, &batch)
	notices := t.listen()
	defer notices.stop()
	inserted, err := results.Exec()
	if err == nil && int(inserted.RowsAffected()) != n {
		err = fmt.Errorf("%d of %d rows inserted", inserted.RowsAffected(), n)
	}
	if err != nil {
		_ = results.Close()
		// A race is known by the statement that failed: other engines report it
		// with other codes and constraint names. Postgres skips the COMMIT after
		// it. Without Postgres's word the COMMIT may have been carried out.
		if errors.As(err, new(*pgconn.PgError)) && !t.conn.IsClosed() {
			t.rollback(ctx)
			return fmt.Errorf("%w: %w", errLostRace, err)
		}
		return fmt.Errorf("%w: %w", errUnknown, err)
	}
	committed, err := results.Exec()
	if closing := results.Close(); err == nil {
		err = closing
	}
	if err == nil && committed.String() != "COMMIT" {
		err = fmt.Errorf("COMMIT was answered %q", committed)
	}
	if err != nil {
		_ = t.conn.Close(ctx)
		return fmt.Errorf("%w: %w", errUnknown, err)
	}
	if notices.heard {
		return fmt.Errorf("%w: %w", errUnknown, errNoticed)
	}
	return nil
}

// acknowledge ends a transaction that found its row. Where commits wait for a
// standby, so does it: a row may be visible whose own commit was cut off before
// any standby had it, and a failover would lose what is acknowledged here. A
// commit waits for all that was written before it, once it writes itself.
func (t *transaction) acknowledge(ctx context.Context) error {
	if !t.synchronous {
		t.rollback(ctx)
		return nil
	}
	var batch pgx.Batch
	batch.Queue(`select pg_logical_emit_message(true, 'onceql', '')`)
	batch.Queue("commit")
	results := t.conn.SendBatch(ctx, &batch)
	notices := t.listen()
	defer notices.stop()
	err := results.Close()
	if err != nil {
		_ = t.conn.Close(ctx)
	} else if notices.heard {
		err = errNoticed
	}
	if err != nil {
		return connectionError{fmt.Errorf("waiting for the standby: %w", err)}
	}
	return nil
}

// errNoticed: Postgres answered COMMIT and had something to say about it.
var errNoticed = errors.New("COMMIT came with a notice, perhaps that no standby has it")

// notices tells whether Postgres sent a notice. A COMMIT whose wait for a standby
// was cancelled, by an operator or by a pool that cancels at a deadline, is
// answered COMMIT all the same, and only a warning says that a failover may lose
// it. The handler of notices is part of the pool's configuration, which is not
// the engine's; so it reads the trace of the messages.
type notices struct {
	conn  *pgx.Conn
	heard bool
}

// listen listens where commits wait for a standby. The caller stops it.
func (t *transaction) listen() *notices {
	n := &notices{conn: t.conn}
	// A connection that broke belongs to the goroutine that closes it.
	if t.synchronous && !n.conn.IsClosed() {
		n.conn.PgConn().Frontend().Trace(n, pgproto3.TracerOptions{SuppressTimestamps: true})
	}
	return n
}

func (n *notices) stop() {
	if !n.conn.IsClosed() {
		n.conn.PgConn().Frontend().Untrace()
	}
}

// Write takes the trace's line about one message.
func (n *notices) Write(line []byte) (int, error) {
	n.heard = n.heard || bytes.HasPrefix(line, []byte("B\tNoticeResponse\t"))
	return len(line), nil
}

// rollback ends the transaction and lets its locks go. When that fails the
// connection is closed, and Postgres does it.
func (t *transaction) rollback(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if t.conn.IsClosed() || t.tx == nil {
		return
	}
	if err := t.tx.Rollback(ctx); err != nil && !errors.Is(err, pgx.ErrTxClosed) {
		_ = t.conn.Close(ctx)
	}
}

// A connectionError is any failure that is not Postgres's word: of the network,
// of a pool, of a time-out.
type connectionError struct{ error }

func (e connectionError) Unwrap() error { return e.error }

// ownError names the step of the engine in which err came up. What a new attempt
// can mend, perhaps on another connection, is a connectionError.
func ownError(step string, err error) error {
	err = fmt.Errorf("%s: %w", step, err)
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) ||
		pgErr.Code == "0A000" || // a plan that a migration outdated, or a standby
		pgErr.Code == "26000" { // a statement that a pooler did not carry over
		return connectionError{err}
	}
	return err
}

// An effectTx is the transaction as an effect sees it: the engine ends it.
type effectTx struct{ pgx.Tx }

// Commit refuses.
func (*effectTx) Commit(context.Context) error { return ErrTransaction }

// Rollback refuses.
func (*effectTx) Rollback(context.Context) error { return ErrTransaction }

// endedTx stands in for the transaction once the effect has returned: all of its
// methods report pgx.ErrTxClosed.
var endedTx = func() pgx.Tx {
	var batch pgx.Batch
	batch.BeginTx(txOptions)
	return pgx.FailedBatchResults(&batch, pgx.ErrTxClosed).Tx()
}()
