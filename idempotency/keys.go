package idempotency

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency/internal/store"
)

// CallInfo is what a key did.
type CallInfo struct {
	Key, Operation string
	// ExecutedAt and ExpiresAt are times of the database's clock: when the
	// effect ran, and until when its result is replayed.
	ExecutedAt, ExpiresAt time.Time
	// RetainedUntil is until when the key is kept and refused at least.
	RetainedUntil time.Time
	// Expired says whether the result is no longer replayed; until the key is
	// purged it is refused.
	Expired bool
	// RequestID is that of the request that executed; it may be empty.
	RequestID string
	// TraceID and SpanID are those of the call that executed; both may be empty.
	TraceID, SpanID string
}

// Lookup returns what the scope's key did, and false when that is not known
// here: the key was never used, its call is in flight, it was purged, or it is
// not a valid key. Its errors wrap ErrUnavailable when the database can't be
// reached.
func (e *Engine) Lookup(ctx context.Context, scope, key string) (CallInfo, bool, error) {
	if ValidateKey(key) != nil {
		return CallInfo{}, false, nil //nolint:nilerr // Nobody can have used it.
	}
	return info(e.store.Find(ctx, store.Key{Scope: scope, Key: key}))
}

// A Querier runs statements: a pool, a connection or a transaction of pgx.
type Querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults
}

// LookupOn is Lookup on what the caller gives, so that many look-ups wait for
// connections of the caller's own, and take none from calls. It is one batch, which
// sets onceql.tenants to the scope; a transaction of the caller's keeps that setting.
// The tables are those that the engine's own connections reach, or, before the first
// call, those of q.
func (e *Engine) LookupOn(ctx context.Context, q Querier, scope, key string) (CallInfo, bool, error) {
	if ValidateKey(key) != nil {
		return CallInfo{}, false, nil //nolint:nilerr // Nobody can have used it.
	}
	return info(e.store.FindOn(ctx, q, store.Key{Scope: scope, Key: key}))
}

// Usage is what is stored for a scope.
type Usage struct {
	// Keys are those that are not purged yet, and Bytes what their results take, as
	// Postgres stores them: large ones are compressed.
	Keys, Bytes int64
}

// UsageOn counts what is stored for the scope, of at most so many keys, on what the caller
// gives, as LookupOn does. It reads a row for each key.
func (e *Engine) UsageOn(ctx context.Context, q Querier, scope string, most int64) (Usage, error) {
	keys, bytes, failure := e.store.UsageOn(ctx, q, scope, most)
	if failure != nil {
		return Usage{}, failedBy(failure)
	}
	return Usage{keys, bytes}, nil
}

func info(row store.Row, there bool, failure *store.Failure) (CallInfo, bool, error) {
	if failure != nil {
		return CallInfo{}, false, failedBy(failure)
	}
	if !there {
		return CallInfo{}, false, nil
	}
	return infoOf(row), true, nil
}

func infoOf(row store.Row) CallInfo {
	traceID, spanID := ofTrace(row.Trace)
	return CallInfo{
		Key: row.Key.Key, Operation: row.Operation, ExecutedAt: row.CreatedAt, ExpiresAt: row.ExpiresAt,
		RetainedUntil: row.RetainedUntil, Expired: row.Expired, RequestID: row.RequestID,
		TraceID: traceID, SpanID: spanID,
	}
}

// Forget removes what the scope's key did, so that the key is new again, and
// says whether there was something to remove. While a call with the key
// executes it is ErrInProgress. A call that is under way meanwhile, and whoever
// joins it, may still be told what was forgotten.
func (e *Engine) Forget(ctx context.Context, scope, key string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, e.config.Budget)
	defer cancel()
	for wait := time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		there, failure := e.store.Forget(ctx, store.Key{Scope: scope, Key: key}, e.config.Budget)
		switch {
		case failure == nil:
			return there, nil
		case !errors.Is(failure, store.ErrBusy):
			return false, failedBy(failure)
		case !there:
			return false, ErrInProgress
		}
		// A call that replays the key holds its lock, for a moment.
		if pause(ctx, e.random.jitter(wait)); ctx.Err() != nil {
			return false, failedBy(failure)
		}
	}
}

// purgeBatch is how many rows one transaction of the purge removes: few enough
// that it is over in some milliseconds.
const purgeBatch = 1000

// purgeRest is how much longer than a batch the pause after it is. To remove a row
// costs less than a tenth of what it cost to make it, so a purge that works a
// tenth of the time keeps up with any load, and takes little from it.
const purgeRest = 9

// Purge removes the rows whose retention and whose replays are over, by the
// database's clock, and returns how many. It works in small transactions, one
// server at a time, and pauses most of the time. While another server purges,
// Purge leaves the rest to it.
func (e *Engine) Purge(ctx context.Context) (total int64, err error) {
	defer func() {
		switch now := time.Now(); {
		case err == nil:
			e.purgedAt.Store(&now)
		case !errors.Is(err, context.Canceled):
			e.purgeFailures.Add(1)
		}
	}()
	var oldest *time.Time
	for {
		start := time.Now()
		removed, newest, failure := e.purgeSome(ctx, oldest)
		total += removed
		e.purged.Add(uint64(removed))
		if failure != nil {
			return total, fmt.Errorf("purging: %w", failedBy(failure))
		}
		if removed < purgeBatch {
			return total, nil
		}
		oldest = newest
		pause(ctx, purgeRest*time.Since(start))
	}
}

func (e *Engine) purgeSome(ctx context.Context, oldest *time.Time) (int64, *time.Time, *store.Failure) {
	ctx, cancel := context.WithTimeout(ctx, e.config.Budget)
	defer cancel()
	return e.store.Purge(ctx, purgeBatch, oldest, e.config.Budget)
}

// purgeRegularly purges until ctx ends, at moments that differ between servers.
func (e *Engine) purgeRegularly(ctx context.Context) {
	for {
		pause(ctx, e.random.jitter(e.config.PurgeEvery))
		if ctx.Err() != nil {
			return
		}
		removed, err := e.Purge(ctx)
		if removed > 0 {
			e.config.Observer(Event{Kind: Purged, Count: removed})
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			e.config.Observer(Event{Kind: PurgeFailed, Err: err})
		}
	}
}

// pause waits, and returns early when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
