package idempotency

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// purgeBatch is how many rows one transaction of the purge removes: few enough
// that it is over in some milliseconds.
const purgeBatch = 1000

var purgeLock = identity{scope: "purge"}.lock()

// Purge removes the rows that are past their retention and their TTL, by the
// database's clock, and returns how many. It works in small transactions, one
// server at a time: when another one is at it, Purge leaves the rest to it.
func (e *Engine) Purge(ctx context.Context) (int64, error) {
	var total int64
	for {
		removed, err := e.purgeSome(ctx)
		total += removed
		if err != nil {
			return total, unavailable(ctx, "purging", err)
		}
		if removed < purgeBatch {
			return total, nil
		}
	}
}

func (e *Engine) purgeSome(ctx context.Context) (removed int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, e.config.Budget)
	defer cancel()
	err = pgx.BeginTxFunc(ctx, e.pool, txOptions, func(tx pgx.Tx) error {
		var locked bool
		if err := tx.QueryRow(ctx, `select pg_try_advisory_xact_lock($1)`, purgeLock).Scan(&locked); err != nil || !locked {
			return err
		}
		// The age stands in both places: a key that was made anew is spared.
		tag, err := tx.Exec(ctx, `
			delete from idempotency_keys
			where created_at < now() - make_interval(secs => $1) and expires_at < now()
			and (scope, key) in (
				select scope, key
				from idempotency_keys
				where created_at < now() - make_interval(secs => $1) and expires_at < now()
				order by created_at
				limit $2
			)`, e.config.Retention.Seconds(), purgeBatch)
		removed = tag.RowsAffected()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("removing a batch: %w", err)
	}
	return removed, nil
}

// purgeRegularly purges until ctx ends, at moments that differ between servers.
func (e *Engine) purgeRegularly(ctx context.Context) {
	for {
		pause(ctx, backoff(0, e.config.PurgeEvery, e.config.PurgeEvery))
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
