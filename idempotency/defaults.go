package idempotency

import "time"

// What a Config without a word of them has.
const (
	// DefaultTTL is how long a result is replayed.
	DefaultTTL = 24 * time.Hour
	// DefaultRetention is how long a key is kept, or the TTL where that is longer.
	DefaultRetention = 72 * time.Hour
	// DefaultWait is how long a call waits for its outcome.
	DefaultWait = 5 * time.Second
	// DefaultBudget is how long one execution may take.
	DefaultBudget = 10 * time.Second
)
