package idempotency

import "time"

// Waiting tells the tests how many callers wait for the key.
func (e *Engine) Waiting(scope, key string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	if f := e.flights[identity{scope, key}]; f != nil {
		return len(f.requests)
	}
	return 0
}

// Queued tells the tests how many flights wait for a worker.
func (e *Engine) Queued() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.alone.queue.size + e.grouped.queue.size
}

// Full tells the tests whether the queue has no place left.
func (e *Engine) Full() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.alone.queue.full() || e.grouped.queue.full()
}

// Closing tells the tests whether Close has begun.
func (e *Engine) Closing() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closing
}

// Backoff is the pause between two attempts.
var Backoff = backoff

// PurgeLock is the advisory lock of the server that purges.
var PurgeLock = purgeLock

// SetPatience sets how long a group waits to become as large as those under way.
func (e *Engine) SetPatience(patience time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.grouped.patience = patience
}
