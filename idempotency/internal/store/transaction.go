package store

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A Key is what makes two calls the same.
type Key struct{ Scope, Key string }

// Compare orders keys by scope and then by key, as bytes.
func (k Key) Compare(other Key) int {
	return cmp.Or(strings.Compare(k.Scope, other.Scope), strings.Compare(k.Key, other.Key))
}

// The lock's namespace keeps these locks apart from an importer's own.
const lockNamespace = "onceql idempotency 1"

// Lock is the id of the advisory lock that saves work on the key: 8 bytes of a
// SHA-256, so that nobody can craft a collision that makes others wait.
func (k Key) Lock() int64 {
	text := make([]byte, 0, len(lockNamespace)+len(k.Scope)+len(k.Key)+12)
	for _, part := range [...]string{lockNamespace, k.Scope, k.Key} {
		text = binary.BigEndian.AppendUint32(text, uint32(len(part)))
		text = append(text, part...)
	}
	sum := sha256.Sum256(text)
	return int64(binary.BigEndian.Uint64(sum[:8]))
}

// A Row is what a key did.
type Row struct {
	Key
	Operation   string
	Hash        []byte
	HashVersion int16
	Response    []byte
	RequestID   string
	ExecutionID [16]byte
	// Trace is the id of the trace that executed, with a hyphen and the id of its span
	// when that is known; empty when there was none.
	Trace string
	// These are times of the database's clock.
	CreatedAt, ExpiresAt, RetainedUntil time.Time
	// Expired says whether ExpiresAt was over when the row was read.
	Expired bool
}

// Limits are the time-outs of a transaction, as Postgres keeps them.
type Limits struct{ Lock, Statement, Idle time.Duration }

// READ COMMITTED, because the look-up after the lock needs a newer snapshot than the
// lock's statement; READ WRITE, because a standby must refuse: what it shows may be
// lost at a failover.
var txOptions = pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}

// A Tx is one transaction of the protocol. Its owner ends it with End. It is not safe
// for use by several goroutines.
type Tx struct {
	// Now is the database's time for everything that the transaction does.
	Now time.Time
	// Held says of each key whether its lock is the transaction's.
	Held []bool
	// Rows are those of the keys that have one.
	Rows map[Key]Row
	// Synchronous says whether commits wait for a standby. What is found then has to be
	// acknowledged before it is told.
	Synchronous bool

	conn     *pgxpool.Conn
	tx       pgx.Tx
	sql      *statements
	scopes   []string
	settings []string // role, row_security, search_path
	// savepoint is the statement that sets the one of Back and Keep.
	savepoint string
	ended     bool
}

// The steps of a claim, as its errors name them.
const (
	connecting = "taking a connection"
	beginning  = "beginning"
	looking    = "looking the keys up"
)

// Claim begins a transaction, tries the locks of the keys, which are sorted, and looks
// for their rows. With more than one key it sets a savepoint, see Back.
func (s *Store) Claim(ctx context.Context, keys []Key, limits Limits) (*Tx, *Failure) {
	sql := claimSQL
	if len(keys) == 1 {
		sql = claimOneSQL
	}
	return s.begin(ctx, sql, keys, keys, limits, len(keys) > 1)
}

// LookUp is Claim for a transaction that only looks. Held says of each of the probed
// keys whether nobody executes it.
func (s *Store) LookUp(ctx context.Context, keys, probed []Key, limits Limits) (*Tx, *Failure) {
	return s.begin(ctx, probeSQL, keys, probed, limits, false)
}

func (s *Store) begin(ctx context.Context, sql string, keys, locked []Key, limits Limits, savepoint bool) (*Tx, *Failure) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, &Failure{Database, fmt.Errorf("%s: %w", connecting, err)}
	}
	t := &Tx{conn: conn}
	if t.sql = s.sql.Load(); t.sql == nil {
		if t.sql, err = s.resolve(ctx, conn.Conn()); err != nil {
			defer t.End(ctx)
			return nil, s.claiming(ctx, conn.Conn(), looking, err)
		}
	}
	locks := make([]int64, len(locked))
	for i, key := range locked {
		locks[i] = key.Lock()
	}
	scopes, names := columns(keys)
	t.scopes = slices.Compact(slices.Clone(scopes))

	step, state := beginning, ""
	var found []Row
	var batch pgx.Batch
	batch.BeginTx(txOptions)
	batch.Queue(sql, locks, t.scopes, milliseconds(limits.Lock), milliseconds(limits.Statement), milliseconds(limits.Idle)).
		QueryRow(func(row pgx.Row) error {
			step = looking
			var ignored string
			return row.Scan(&t.Now, &t.Synchronous, &state, &ignored, &t.Held,
				&ignored, &ignored, &ignored, &ignored, &ignored, &ignored, &ignored)
		})
	lookup := batch.Queue(t.sql.find, scopes, names)
	switch {
	case len(keys) == 1:
		lookup.SQL, lookup.Arguments = t.sql.findOne, []any{scopes[0], names[0]}
	case len(t.scopes) == 1:
		lookup.SQL, lookup.Arguments = t.sql.findInScope, []any{scopes[0], names}
	}
	lookup.Query(func(rows pgx.Rows) (err error) {
		found, err = pgx.CollectRows(rows, scanRow)
		return err
	})
	came := t.session()
	if savepoint {
		batch.Queue(came.savepoint)
	}
	results := conn.SendBatch(ctx, &batch)
	err = results.Close()
	t.tx = results.Tx()
	if state != "" {
		// Before its error, which may be of what was changed.
		err = cmp.Or(t.unchanged(came, state), err)
	}
	if err != nil {
		defer t.End(ctx)
		return nil, s.claiming(ctx, conn.Conn(), step, err)
	}
	t.Rows = make(map[Key]Row, len(found))
	for _, row := range found {
		row.Expired = !row.ExpiresAt.After(t.Now)
		t.Rows[row.Key] = row
	}
	return t, nil
}

func columns(keys []Key) (scopes, names []string) {
	scopes, names = make([]string, len(keys)), make([]string, len(keys))
	for i, key := range keys {
		scopes[i], names[i] = key.Scope, key.Key
	}
	return scopes, names
}

// sessionKey is where a connection keeps what it came with.
const sessionKey = "onceql.session"

// A session is what the keys depend on, as the connection came with it, and the
// statement that sets the savepoint, whose name no effect takes by mistake.
type session struct{ settings, savepoint string }

var errSession = errors.New("an effect changed a setting of its session, not of its transaction")

// session returns what the connection came with. Of one that is new the settings are
// not known yet.
func (t *Tx) session() session {
	conn := t.conn.Conn().PgConn()
	came, known := conn.CustomData()[sessionKey].(session)
	if !known {
		name := sha256.Sum256(fmt.Appendf(nil, "%d %v", conn.PID(), conn.SecretKey()))
		came.savepoint = fmt.Sprintf("savepoint onceql_%x", name[:8])
	}
	t.savepoint = came.savepoint
	return came
}

// unchanged refuses a connection whose session an effect changed.
func (t *Tx) unchanged(came session, state string) error {
	t.settings = strings.Split(state, "\x1f")
	switch came.settings {
	case state:
		return nil
	case "":
		came.settings = state
		t.conn.Conn().PgConn().CustomData()[sessionKey] = came
		return nil
	}
	_ = t.conn.Conn().Close(canceled)
	return errSession
}

// Commit checks the constraints that the effect deferred, puts back what it changed,
// inserts the rows, which have their times in common, and commits. When it returns nil
// that is certain. After a Failure of the deferred constraints the transaction lasts
// until Back or End, after any other it is over. Commit has a budget of its own.
func (t *Tx) Commit(ctx context.Context, rows []Row, budget time.Duration) *Failure {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), budget)
	defer cancel()
	var batch pgx.Batch
	batch.Queue(constraintsSQL)
	batch.Queue(restoreSQL, t.settings[0], t.settings[1], t.settings[2], t.scopes, milliseconds(budget), t.Now)
	if r := rows[0]; len(rows) == 1 {
		batch.Queue(t.sql.insertOne, r.Scope, r.Key.Key, r.Operation, r.Hash, r.HashVersion, string(r.Response),
			r.RequestID, uuid.UUID(r.ExecutionID).String(), r.Trace, r.CreatedAt, r.ExpiresAt, r.RetainedUntil)
	} else {
		batch.Queue(t.sql.insert, arguments(rows)...)
	}
	batch.Queue("commit")
	conn := t.conn.Conn()
	results := conn.SendBatch(ctx, &batch)
	notices := t.listen()
	for step, classify := range [...]func(error) *Failure{running, unrestored, inserting} {
		_, err := results.Exec()
		if err == nil {
			continue
		}
		_ = results.Close()
		notices.stop()
		// Postgres skips what is behind a statement that failed. Without its word the
		// COMMIT may have been carried out.
		if code(err) == "" || conn.IsClosed() {
			t.close()
			return &Failure{Unknown, err}
		}
		failure := classify(err)
		if step > 0 || failure.Owner != Effect && failure.Owner != Slow {
			t.End(ctx)
		}
		return failure
	}
	committed, err := results.Exec()
	if closing := results.Close(); err == nil {
		err = closing
	}
	notices.stop()
	if err == nil && committed.String() != "COMMIT" {
		err = fmt.Errorf("COMMIT was answered %q", committed)
	}
	if err != nil {
		t.close()
		return &Failure{Unknown, fmt.Errorf("committing: %w", err)}
	}
	t.ended = true
	t.conn.Release()
	if notices.heard {
		return &Failure{Unknown, errNoticed}
	}
	return nil
}

// unrestored classifies the error of restoreSQL. An internal error of the server is not
// what an effect set.
func unrestored(err error) *Failure {
	if failure := running(err); failure.Owner != Effect {
		return failure
	}
	if class(code(err)) == "XX" {
		return &Failure{Database, fmt.Errorf("restoring the settings: %w", err)}
	}
	return &Failure{Effect, fmt.Errorf("%w: %w", ErrSettings, err)}
}

// Acknowledge ends a transaction that found rows, where commits wait for a standby: so
// does it. A row may be visible whose own commit was cut off before any standby had it,
// and a failover would lose what is told here. A commit waits for all that was written
// before it, once it writes itself.
func (t *Tx) Acknowledge(ctx context.Context) *Failure {
	var batch pgx.Batch
	batch.Queue(acknowledgeSQL)
	batch.Queue("commit")
	results := t.conn.SendBatch(ctx, &batch)
	notices := t.listen()
	err := results.Close()
	notices.stop()
	if err == nil && notices.heard {
		err = errNoticed
	}
	if err != nil {
		t.close()
		return &Failure{Database, fmt.Errorf("waiting for the standby: %w", err)}
	}
	t.ended = true
	t.conn.Release()
	return nil
}

// Over says whether the transaction has ended.
func (t *Tx) Over() bool { return t.ended }

// End rolls the transaction back, unless it is over, and lets its connection and its
// locks go. When that fails the connection is closed, and Postgres does it.
func (t *Tx) End(ctx context.Context) {
	if t.ended {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if t.tx != nil && !t.conn.Conn().IsClosed() {
		if err := t.tx.Rollback(ctx); err != nil && !errors.Is(err, pgx.ErrTxClosed) {
			_ = t.conn.Conn().Close(canceled)
		}
	}
	t.ended = true
	t.conn.Release()
}

// close ends the transaction with its connection.
func (t *Tx) close() {
	if t.ended {
		return
	}
	t.ended = true
	defer t.conn.Release()
	_ = t.conn.Conn().Close(canceled)
}

// Abandon ends the transaction under somebody who may use its connection at this
// moment. The connection is no longer the pool's.
func (t *Tx) Abandon() {
	if !t.ended {
		t.ended = true
		_ = t.conn.Hijack().PgConn().Conn().Close()
	}
}

func milliseconds(d time.Duration) string {
	return strconv.FormatInt(max(1, d.Milliseconds()), 10)
}

// notices tells whether Postgres sent a notice. A COMMIT whose wait for a standby was
// cancelled, by an operator or by a pool that cancels at a deadline, is answered COMMIT
// all the same, and only a warning says that a failover may lose it. The handler of
// notices is part of the pool's configuration, which is not the engine's; so it reads
// the trace of the messages.
type notices struct {
	conn  *pgx.Conn
	heard bool
}

// listen listens where commits wait for a standby. The caller stops it, before the
// connection is the pool's again.
func (t *Tx) listen() *notices {
	n := &notices{conn: t.conn.Conn()}
	// A connection that broke belongs to the goroutine that closes it.
	if t.Synchronous && !n.conn.IsClosed() {
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
