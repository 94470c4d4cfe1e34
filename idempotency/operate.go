package idempotency

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/idempotency/internal/store"
)

// Keys reads and removes what keys did, and executes nothing: it is for the tools of
// operators, whose role may see the rows of all scopes. It is safe for use by many
// goroutines.
type Keys struct {
	pool  *pgxpool.Pool
	store *store.Store
}

// OpenKeys returns the keys that the pool's connections reach.
func OpenKeys(pool *pgxpool.Pool) *Keys { return &Keys{pool, store.New(pool)} }

// List is Engine.ListOn on a connection of the pool.
func (k *Keys) List(ctx context.Context, filter Filter, after *Position, limit int) ([]Record, error) {
	return listOn(ctx, k.store, k.pool, filter, after, limit)
}

// Find returns the record of the scope's key, and false when there is none.
func (k *Keys) Find(ctx context.Context, scope, key string) (Record, bool, error) {
	records, err := k.List(ctx, Filter{Scope: scope, Key: key}, nil, 1)
	if err != nil || len(records) == 0 {
		return Record{}, false, err
	}
	return records[0], true, nil
}

// Payload returns the payload that is replayed for the scope's key, byte for byte, and false
// when there is none.
func (k *Keys) Payload(ctx context.Context, scope, key string) (json.RawMessage, bool, error) {
	payload, there, failure := k.store.Response(ctx, store.Key{Scope: scope, Key: key})
	if failure != nil {
		return nil, false, failedBy(failure)
	}
	return payload, there, nil
}

// Executing says whether a call with the scope's key executes at this moment. One that waits
// for its turn in a server is not seen, and one that is being replayed is.
func (k *Keys) Executing(ctx context.Context, scope, key string) (bool, error) {
	executing, failure := k.store.Executing(ctx, store.Key{Scope: scope, Key: key})
	if failure != nil {
		return false, failedBy(failure)
	}
	return executing, nil
}

// Check says what Do would make of the call now, and returns the record of its key where
// there is one. Nil with a record: it would be replayed. Nil without: it would execute, and
// what the business then says nobody knows before. Else it is ErrKeyReused or ErrKeyExpired,
// ErrInProgress without a record while a call with the key executes, the key's or call's own
// fault, or wraps ErrUnavailable.
func (k *Keys) Check(ctx context.Context, call Call) (Record, bool, error) {
	if err := call.validate(); err != nil {
		return Record{}, false, err
	}
	record, there, err := k.Find(ctx, call.Scope, call.Key)
	if err != nil {
		return Record{}, false, err
	}
	if !there {
		executing, err := k.Executing(ctx, call.Scope, call.Key)
		if err == nil && executing {
			err = ErrInProgress
		}
		return Record{}, false, err
	}
	return record, true, call.checkReplay(&store.Row{
		Operation: record.Operation, Hash: record.Fingerprint[:], HashVersion: record.FingerprintVersion, Expired: record.Expired,
	}, call.Fingerprint)
}

const (
	// removeIdle is how long a transaction that removes may wait for its client.
	removeIdle = 10 * time.Second
	// removeBusy is how often a key is tried whose lock is another's.
	removeBusy = 50
	removeWait = 100 * time.Millisecond
	// removeTimes is how often a batch is tried that had a conflict, as with the purge.
	removeTimes = 5
)

// Forget is Engine.Forget that has record run in the transaction that removes the row, with
// what it was: nothing is removed when that fails, and record's own error is returned.
func (k *Keys) Forget(ctx context.Context, scope, key string, record func(pgx.Tx, Record) error) (bool, error) {
	if err := ValidateKey(key); err != nil {
		return false, err
	}
	for attempt := 1; ; attempt++ {
		var refused error
		there, failure := k.remove(ctx, store.Key{Scope: scope, Key: key}, func(tx pgx.Tx, row store.Listed) error {
			refused = record(tx, recordOf(row))
			return refused
		})
		switch {
		case failure == nil:
			return there, nil
		case refused != nil:
			return false, refused
		case !errors.Is(failure, store.ErrBusy):
			return false, failedBy(failure)
		case !there || attempt == removeBusy:
			return false, ErrInProgress
		}
		// A call that replays the key holds its lock, for a moment.
		if pause(ctx, removeWait); ctx.Err() != nil {
			return false, failedBy(failure)
		}
	}
}

// remove is not cut short: whoever interrupts it would not know whether it removed the row.
func (k *Keys) remove(ctx context.Context, key store.Key, record func(pgx.Tx, store.Listed) error) (bool, *store.Failure) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), DefaultBudget)
	defer cancel()
	return k.store.Remove(ctx, key, removeIdle, record)
}

// Count returns how many keys the scope has. It reads an entry of an index for each.
func (k *Keys) Count(ctx context.Context, scope string) (int64, error) {
	rows, failure := k.store.CountScope(ctx, scope)
	if failure != nil {
		return 0, failedBy(failure)
	}
	return rows, nil
}

// forgetBatch is how many keys of a scope one transaction removes.
const forgetBatch = 1000

// ForgetScope removes what all keys of the scope did before it began, by the database's clock,
// in small transactions, and returns how many. In each of them it has record run, with how
// many that removes. What it calls progress with, where that is not nil, is how many are
// removed so far. When ctx ends it stops between two of them, with ctx's error: what was
// removed stays so. A call that begins to execute meanwhile keeps its key.
func (k *Keys) ForgetScope(ctx context.Context, scope string, record func(tx pgx.Tx, removed int64) error, progress func(total int64)) (int64, error) {
	before, failure := k.store.Now(ctx)
	if failure != nil {
		return 0, failedBy(failure)
	}
	var total int64
	after := ""
	for attempt := 1; ; {
		if ctx.Err() != nil {
			return total, ctx.Err()
		}
		var refused error
		removed, last, failure := k.removeSome(ctx, scope, before, after, func(tx pgx.Tx, removed int64) error {
			refused = record(tx, removed)
			return refused
		})
		switch {
		case refused != nil:
			return total, refused
		case failure != nil && failure.Told(), failure != nil && attempt == removeTimes:
			return total, failedBy(failure)
		case failure != nil:
			attempt++
			pause(ctx, removeWait)
			continue
		case removed == 0:
			return total, nil
		}
		total, after, attempt = total+removed, last, 1
		if progress != nil {
			progress(total)
		}
	}
}

// removeSome is not cut short either.
func (k *Keys) removeSome(ctx context.Context, scope string, before time.Time, after string, record func(pgx.Tx, int64) error) (int64, string, *store.Failure) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), DefaultBudget)
	defer cancel()
	return k.store.RemoveScope(ctx, scope, before, after, forgetBatch, removeIdle, record)
}

// Purgeable returns how many rows a purge would remove now.
func (k *Keys) Purgeable(ctx context.Context) (int64, error) {
	rows, failure := k.store.CountPurgeable(ctx)
	if failure != nil {
		return 0, failedBy(failure)
	}
	return rows, nil
}

// Purge is Engine.Purge that does not pause, and calls progress, where that is not nil, with
// how many are removed so far. When ctx ends it stops between two transactions, with ctx's error.
func (k *Keys) Purge(ctx context.Context, progress func(total int64)) (int64, error) {
	var total int64
	var oldest *time.Time
	for {
		if ctx.Err() != nil {
			return total, ctx.Err()
		}
		removed, newest, failure := k.purgeSome(ctx, oldest)
		if failure != nil {
			return total, fmt.Errorf("purging: %w", failedBy(failure))
		}
		total += removed
		if progress != nil {
			progress(total)
		}
		if removed < purgeBatch {
			return total, nil
		}
		oldest = newest
	}
}

func (k *Keys) purgeSome(ctx context.Context, oldest *time.Time) (int64, *time.Time, *store.Failure) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), DefaultBudget)
	defer cancel()
	return k.store.Purge(ctx, purgeBatch, oldest, removeIdle)
}
