package idempotency

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"time"
)

// Config tunes an Engine. Its zero value is ready for use.
type Config struct {
	// TTL is how long a result is replayed, by the database's clock. Zero means
	// 24 hours.
	TTL time.Duration
	// Retention is how long a key is kept, and refused with ErrKeyExpired once
	// its TTL is over. Zero means 72 hours, or TTL where that is longer. It is
	// never less than TTL.
	Retention time.Duration
	// Wait bounds how long a call waits for its outcome, its own execution
	// included; then it is ErrInProgress, and the execution goes on. Zero means
	// 5 seconds.
	Wait time.Duration
	// Budget bounds one execution, from taking a connection to the end of the
	// effect, and then the commit. The statement, lock and idle timeouts of its
	// transaction follow from it. Zero means 10 seconds.
	Budget time.Duration
	// Workers is how many transactions run side by side, each on a connection
	// of the pool. Zero means one less than the pool's MaxConns, at least one.
	Workers int
	// Queue is how many keys may wait for a worker. When it is full, scopes
	// share it fairly: a scope that has less in it than the fullest one takes
	// that one's last place. Zero means 4096.
	Queue int
	// FingerprintVersion is the version in which new rows store the payload's
	// hash. A new version is first deployed as one that Call.Fingerprint can
	// compute, then as the one that is written. Zero means 1.
	FingerprintVersion int16
	// PurgeEvery is the pause between two purges; less than zero leaves the
	// purge to calls of Purge. Zero means one minute.
	PurgeEvery time.Duration
	// Observer is told what happens, when it is not nil. It is called
	// synchronously and from many goroutines, and must be quick.
	Observer func(Event)
}

// MaxPayload is the size of the largest payload that is stored, in bytes.
const MaxPayload = 1 << 20

// Validate reports what New would panic over.
func (c Config) Validate() error {
	c = c.withDefaults(1)
	switch {
	case c.TTL < 0, c.Retention < 0, c.Wait < 0, c.Budget < 0:
		return errors.New("a duration of the idempotency configuration is negative")
	case c.Retention < c.TTL:
		return fmt.Errorf("the retention (%s) is shorter than the time to live (%s)", c.Retention, c.TTL)
	case c.Budget < time.Millisecond:
		return fmt.Errorf("the budget (%s) is shorter than a millisecond", c.Budget)
	case c.Budget.Milliseconds() > math.MaxInt32:
		return fmt.Errorf("the budget (%s) is longer than Postgres's timeouts can be, 24 days", c.Budget)
	case c.Workers < 0, c.Queue < 0, c.FingerprintVersion < 0:
		return errors.New("a number of the idempotency configuration is negative")
	}
	return nil
}

func (c Config) withDefaults(maxConns int32) Config {
	c.TTL = cmp.Or(c.TTL, 24*time.Hour)
	c.Retention = cmp.Or(c.Retention, max(72*time.Hour, c.TTL))
	c.Wait = cmp.Or(c.Wait, 5*time.Second)
	c.Budget = cmp.Or(c.Budget, 10*time.Second)
	c.Workers = cmp.Or(c.Workers, max(1, int(maxConns)-1))
	c.Queue = cmp.Or(c.Queue, 4096)
	c.FingerprintVersion = cmp.Or(c.FingerprintVersion, 1)
	c.PurgeEvery = cmp.Or(c.PurgeEvery, time.Minute)
	if c.Observer == nil {
		c.Observer = func(Event) {}
	}
	return c
}
