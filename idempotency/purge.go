package idempotency

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// purgeBatch is how many rows one transaction of the purge removes: few enough
// that it is over in some milliseconds.
const purgeBatch = 1000

// purgeRest is how much longer than a batch the pause after it is. To remove a row
// costs less than a tenth of what it cost to make it, so a purge that works a
// tenth of the time keeps up with any load, and takes little from it.
const purgeRest = 9

var purgeLock = identity{scope: "purge"}.lock()

// Purge removes the rows that are past their retention and their TTL, by the
// database's clock, and returns how many. It works in small transactions, one
// server at a time, and rests most of the time: when another server is at it,
// Purge leaves the rest to it.
func (e *Engine) Purge(ctx context.Context) (int64, error) {
	var total int64
	var oldest *time.Time
	for {
		start := time.Now()
		removed, newest, err := e.purgeSome(ctx, oldest)
		total += removed
		if err != nil {
			return total, unavailable(ctx, "purging", err)
		}
		if removed < purgeBatch {
			return total, nil
		}
		oldest = newest
		pause(ctx, purgeRest*time.Since(start))
	}
}

// purgeSome removes a batch of rows that are no older than oldest, and returns how
// many and how old the newest was. Where the last batch ended the next one begins:
// from the start it would pass over all that is removed and not vacuumed yet.
func (e *Engine) purgeSome(ctx context.Context, oldest *time.Time) (removed int64, newest *time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, e.config.Budget)
	defer cancel()
	err = pgx.BeginTxFunc(ctx, e.pool, txOptions, func(tx pgx.Tx) error {
		var locked bool
		if err := tx.QueryRow(ctx, `
			select pg_try_advisory_xact_lock($1) from set_config('onceql.purge', 'on', true)`, purgeLock).Scan(&locked); err != nil || !locked {
			return err
		}
		// The age stands in both places: a key that was made anew is spared.
		return tx.QueryRow(ctx, `
			with removed as (
				delete from idempotency_keys
				where created_at < now() - make_interval(secs => $1) and expires_at < now()
				and (scope, key) in (
					select scope, key
					from idempotency_keys
					where created_at >= coalesce($2::timestamptz, '-infinity')
					and created_at < now() - make_interval(secs => $1) and expires_at < now()
					order by created_at
					limit $3
				)
				returning created_at
			)
			select count(*), max(created_at) from removed`,
			e.config.Retention.Seconds(), oldest, purgeBatch).Scan(&removed, &newest)
	})
	if err != nil {
		return 0, nil, fmt.Errorf("removing a batch: %w", err)
	}
	return removed, newest, nil
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
