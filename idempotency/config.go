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
	// Groups is how many groups of Operations run side by side, each on a
	// connection of the pool. The fewer, the larger the groups get under load.
	// Zero means 3, or fewer where the pool's MaxConns is less than 8.
	Groups int
	// GroupBy says whose calls may share a group. Zero means GroupByAll.
	GroupBy GroupBy
	// Workers is how many executions of the function Do run side by side, each
	// on a connection of the pool. Zero means what Groups leave of the pool's
	// MaxConns, less one for Lookup, Forget and Purge, and at least one.
	Workers int
	// Queue is how many keys may wait for a worker, and as many for a group.
	// When it is full, scopes share it fairly: a scope that has less in it than
	// the fullest one takes that one's last place. Zero means 4096.
	Queue int
	// FingerprintVersion is the version in which new rows store the payload's
	// hash. A new version is first deployed as one that Call.Fingerprint can
	// compute, then as the one that is written. Zero means 1.
	FingerprintVersion int16
	// PurgeEvery is the pause between two purges; less than zero leaves the
	// purge to calls of Purge. Zero means one minute.
	PurgeEvery time.Duration
	// Observer is told what happens, when it is not nil. It is called
	// synchronously and from many goroutines, must be quick, and must not panic.
	Observer func(Event)
}

// GroupBy says whose calls may share a group, and so a transaction.
type GroupBy int

const (
	// GroupByAll lets calls of all scopes share a group: the best for one
	// PostgreSQL.
	GroupByAll GroupBy = iota
	// GroupByScope makes groups of one scope: the best for a distributed engine,
	// where the rows of a scope are together and those of two may not be.
	GroupByScope
)

// MaxGroup is how many calls a group has at most.
const MaxGroup = 128

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
	case c.Workers < 0, c.Groups < 0, c.Queue < 0, c.GroupBy < GroupByAll, c.GroupBy > GroupByScope, c.FingerprintVersion < 0:
		return errors.New("a number of the idempotency configuration is negative")
	}
	return nil
}

func (c Config) withDefaults(maxConns int32) Config {
	c.TTL = cmp.Or(c.TTL, DefaultTTL)
	c.Retention = cmp.Or(c.Retention, max(DefaultRetention, c.TTL))
	c.Wait = cmp.Or(c.Wait, DefaultWait)
	c.Budget = cmp.Or(c.Budget, DefaultBudget)
	c.Groups = cmp.Or(c.Groups, max(1, min(3, int(maxConns)/2-1)))
	c.Workers = cmp.Or(c.Workers, max(1, int(maxConns)-c.Groups-1))
	c.Queue = cmp.Or(c.Queue, 4096)
	c.FingerprintVersion = cmp.Or(c.FingerprintVersion, 1)
	c.PurgeEvery = cmp.Or(c.PurgeEvery, time.Minute)
	if c.Observer == nil {
		c.Observer = func(Event) {}
	}
	return c
}
