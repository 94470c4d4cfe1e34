package idempotency

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A record is a row of idempotency_keys: what a key did.
type record struct {
	identity
	operation            string
	hash                 []byte
	hashVersion          int16
	response             []byte
	requestID            string
	executionID          [16]byte
	createdAt, expiresAt time.Time
	// expired is by the database's clock, in the transaction that read the row.
	expired bool
}

// A found is a record as the answer to one call.
type found struct {
	record
	// value is the stored payload decoded, where that is done already: for the
	// caller that executed.
	value    any
	replayed bool
}

// judge compares the request, whose hash is in version, with what its key did.
func (r *record) judge(request *request, version int16) error {
	hash, known := request.hash, true
	if r.hashVersion != version {
		hash, known = request.call.Fingerprint(r.hashVersion)
	}
	switch {
	case r.operation != request.call.Operation:
		return ErrKeyReused
	case !known:
		return fmt.Errorf("%w: its payload was hashed in version %d, which this build does not know", ErrUnavailable, r.hashVersion)
	case string(hash[:]) != string(r.hash):
		return ErrKeyReused
	case r.expired:
		return ErrKeyExpired
	}
	return nil
}

const recordColumns = `found.scope, found.key, operation, request_hash, hash_version, response_json,
	coalesce(request_id, ''), execution_id, created_at, expires_at`

func scanRecord(row pgx.CollectableRow) (record, error) {
	var r record
	err := row.Scan(&r.scope, &r.key, &r.operation, &r.hash, &r.hashVersion, &r.response,
		&r.requestID, &r.executionID, &r.createdAt, &r.expiresAt)
	return r, err
}

// An Execution is what a key did.
type Execution struct {
	Key, Operation string
	// ExecutedAt and ExpiresAt are times of the database's clock: when the
	// effect ran, and until when its result is replayed.
	ExecutedAt, ExpiresAt time.Time
	// Expired says whether the result is no longer replayed; until the key is
	// purged it is refused.
	Expired bool
	// RequestID is that of the request that executed; it may be empty.
	RequestID string
}

// scopeSQL makes the transaction one of the scope, for policies that keep scopes
// apart. A batch is a transaction, where it has no other.
const scopeSQL = `select set_config('onceql.tenants', array[$1::text]::text, true)`

// Lookup returns what the scope's key did, and false when that is not known
// here: the key was never used, its call is in flight, it was purged, or it is
// not a valid key. Its errors wrap ErrUnavailable when the database can't be
// reached.
func (e *Engine) Lookup(ctx context.Context, scope, key string) (Execution, bool, error) {
	if ValidateKey(key) != nil {
		return Execution{}, false, nil //nolint:nilerr // Nobody can have used it.
	}
	var execution Execution
	var batch pgx.Batch
	batch.Queue(scopeSQL, scope)
	batch.Queue(`
		select key, operation, created_at, expires_at, expires_at <= now(), coalesce(request_id, '')
		from idempotency_keys
		where scope = $1 and key = $2`, scope, key).Query(func(rows pgx.Rows) (err error) {
		execution, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Execution])
		return err
	})
	err := e.pool.SendBatch(ctx, &batch).Close()
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return Execution{}, false, nil
	case err != nil:
		return Execution{}, false, unavailable(ctx, "looking the key up", err)
	}
	return execution, true, nil
}

// Forget removes what the scope's key did, so that the key is new again, and
// says whether there was something to remove. While a call with the key
// executes it is ErrInProgress.
func (e *Engine) Forget(ctx context.Context, scope, key string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, e.config.Budget)
	defer cancel()
	for attempt := 0; ; attempt++ {
		removed, err := e.forget(ctx, identity{scope, key})
		switch {
		case err == nil, errors.Is(err, ErrInProgress):
			return removed, err
		case errors.Is(err, errReplaying) && ctx.Err() == nil:
			pause(ctx, backoff(attempt, 5*time.Millisecond, 200*time.Millisecond))
		default:
			return false, unavailable(ctx, "forgetting the key", err)
		}
	}
}

// errReplaying: a call that replays the key holds its lock, for a moment.
var errReplaying = errors.New("a call replays the key")

func (e *Engine) forget(ctx context.Context, id identity) (removed bool, err error) {
	err = pgx.BeginTxFunc(ctx, e.pool, txOptions, func(tx pgx.Tx) error {
		var locked, there bool
		if _, err := tx.Exec(ctx, scopeSQL, id.scope); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, `select pg_try_advisory_xact_lock($1)`, id.lock()).Scan(&locked); err != nil {
			return err
		}
		if locked {
			tag, err := tx.Exec(ctx, `delete from idempotency_keys where scope = $1 and key = $2`, id.scope, id.key)
			removed = tag.RowsAffected() > 0
			return err
		}
		err := tx.QueryRow(ctx, `select exists (select from idempotency_keys where scope = $1 and key = $2)`, id.scope, id.key).Scan(&there)
		if err == nil && there {
			return errReplaying
		}
		return cmp.Or(err, ErrInProgress)
	})
	return removed && err == nil, err
}

// unavailable wraps what kept the database from answering in ErrUnavailable,
// and any other error as it is.
func unavailable(ctx context.Context, doing string, err error) error {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && classify(ctx, err) == definite {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, doing, err)
}
