package idempotency

import (
	"time"

	"github.com/onceql/onceql/idempotency/internal/schedule"
	"github.com/onceql/onceql/idempotency/internal/store"
)

// WaitingFor tells the tests how many callers wait for the key.
func (e *Engine) WaitingFor(scope, key string) int {
	return e.schedule.Waiting(schedule.ID{Scope: scope, Key: key})
}

// Closing tells the tests whether Close has begun.
func (e *Engine) Closing() bool { return e.schedule.Stats().Closing }

// WithMaxBatchDelay sets how long a batch waits to become as large as those under way.
func (c Config) WithMaxBatchDelay(delay time.Duration) Config {
	c.maxBatchDelay = delay
	return c
}

// PurgeLock is the advisory lock of the server that purges.
var PurgeLock = store.PurgeLock

// LockOf is the advisory lock of a key.
func LockOf(scope, key string) int64 { return store.Key{Scope: scope, Key: key}.Lock() }

// ListSettings is what a list sets.
const ListSettings = store.ListSettings

// ListStatement is the statement of a list, on the table of the search_path.
func ListStatement(filter Filter, after *Position, limit int) (text string, args []any) {
	return storeFilter(filter, after, limit).Statement("idempotency_keys")
}
