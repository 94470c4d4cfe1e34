package idempotency

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// What a zero Config has.
const (
	// DefaultTTL is how long a result is replayed.
	DefaultTTL = 24 * time.Hour
	// DefaultRetention is how long a key is kept, or the TTL where that is longer.
	DefaultRetention = 72 * time.Hour
	// DefaultWait is how long a call waits for its outcome.
	DefaultWait = 5 * time.Second
	// DefaultBudget is how long one execution may take.
	DefaultBudget = 10 * time.Second
	// DefaultMaxBatch is how many calls a batch has at most.
	DefaultMaxBatch = 128
	// DefaultQueue is how many calls may wait for a worker.
	DefaultQueue = 4096
)

// MaxPayload is the size of the largest payload that is stored, in bytes.
const MaxPayload = 1 << 20

// Limits say how long an operation's calls wait, run and are remembered.
type Limits struct {
	// TTL is how long a result is replayed, by the database's clock. Zero means
	// 24 hours.
	TTL time.Duration
	// Retention is how long a key is kept, and refused with ErrKeyExpired once
	// its TTL is over. Zero means 72 hours, or TTL where that is longer. It is
	// never less than TTL. The row keeps it: another engine's retention, or a
	// later one of this engine, does not change it.
	Retention time.Duration
	// Wait bounds how long a call waits for its outcome, its own execution
	// included; then it is ErrInProgress or ErrUnavailable, and what executes goes
	// on. Zero means 5 seconds.
	Wait time.Duration
	// Budget bounds one execution, from taking a connection to the end of the
	// effect, and then the commit. A batch has a quarter of the shorter one of Wait
	// and Budget, or 250 ms of the Budget where that is more; calls that need more
	// run singly. Zero means 10 seconds.
	Budget time.Duration
	// MaxBatch is how many calls a batch has at most. Zero means 128.
	MaxBatch int
}

// An Option sets one of an operation's Limits.
type Option func(*Limits)

// WithTTL sets how long the operation's results are replayed.
func WithTTL(ttl time.Duration) Option { return func(l *Limits) { l.TTL = ttl } }

// WithRetention sets how long the operation's keys are kept.
func WithRetention(retention time.Duration) Option {
	return func(l *Limits) { l.Retention = retention }
}

// WithWait bounds how long the operation's calls wait for their outcome.
func WithWait(wait time.Duration) Option { return func(l *Limits) { l.Wait = wait } }

// WithBudget bounds one execution of the operation.
func WithBudget(budget time.Duration) Option { return func(l *Limits) { l.Budget = budget } }

// WithMaxBatch bounds how many of the operation's calls share a batch.
func WithMaxBatch(calls int) Option { return func(l *Limits) { l.MaxBatch = calls } }

// Config tunes an Engine. Its zero value is ready for use.
type Config struct {
	// TTL, Retention, Wait, Budget and MaxBatch are the Limits of operations that have
	// none of their own.
	TTL, Retention, Wait, Budget time.Duration
	MaxBatch                     int
	// Batches is how many batches run side by side, each on a connection of the pool.
	// The fewer, the larger batches get under load. Zero means 3, or fewer where the
	// pool's MaxConns is less than 11.
	Batches int
	// GroupBy says whether operations may have batches over all scopes. Zero means
	// that each operation says so itself.
	GroupBy GroupBy
	// Workers is how many calls run singly side by side, each on a connection of the
	// pool. One scope has at most three quarters of them. Zero means what the rest
	// leaves of the pool's MaxConns: Batches, one for look-ups, one for Lookup, Forget
	// and Purge, and where there are 8 or more, two for scopes that have nothing
	// running.
	Workers int
	// Queue is how many calls may wait for a worker. When it is full, scopes share it
	// fairly: a scope that has less in it than the fullest one takes that one's last
	// place. Zero means 4096.
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
	// Tracer makes traces of how calls are served, when it is not nil.
	Tracer Tracer
	// Random is where execution ids and jitter come from. Nil means a source of
	// cryptographic quality. A test that wants the same history twice sets its own.
	Random rand.Source

	// While a batch is smaller than those under way it waits so long for more calls.
	maxBatchDelay time.Duration
}

// GroupBy says whose calls may share a batch, and so a transaction.
type GroupBy int

const (
	// GroupByAll lets batches be as their operations say: the best for one
	// PostgreSQL.
	GroupByAll GroupBy = iota
	// GroupByScope makes all batches WithinScope: the best for a distributed engine,
	// where the rows of a scope are together and those of two may not be.
	GroupByScope
)

// Validate reports what New would panic over.
func (c Config) Validate() error {
	if c.Workers < 0 || c.Batches < 0 || c.Queue < 0 || c.FingerprintVersion < 0 {
		return errors.New("a number of the idempotency configuration is negative")
	}
	if c.GroupBy < GroupByAll || c.GroupBy > GroupByScope {
		return errors.New("the idempotency configuration has an unknown GroupBy")
	}
	return c.limits().or(Limits{}).validate()
}

// The connections besides those of the workers: one for look-ups, one for Lookup, Forget
// and Purge; and for the reserve, one worker of each kind for scopes that have nothing
// running.
const (
	otherConns   = 2
	reserveConns = 2
)

// withDefaults returns the configuration for a pool of so many connections, and whether
// they are enough for the reserve.
func (c Config) withDefaults(maxConns int) (_ Config, reserve bool) {
	limits := c.limits().or(Limits{})
	c.TTL, c.Retention, c.Wait, c.Budget, c.MaxBatch = limits.TTL, limits.Retention, limits.Wait, limits.Budget, limits.MaxBatch
	c.Batches = cmp.Or(c.Batches, max(1, min(3, (maxConns-otherConns)/3)))
	rest := maxConns - otherConns - c.Batches
	reserve = maxConns >= 8 && rest-reserveConns >= max(1, c.Workers)
	if reserve {
		rest -= reserveConns
	}
	c.Workers = cmp.Or(c.Workers, max(1, rest))
	c.Queue = cmp.Or(c.Queue, DefaultQueue)
	c.FingerprintVersion = cmp.Or(c.FingerprintVersion, 1)
	c.PurgeEvery = cmp.Or(c.PurgeEvery, time.Minute)
	c.maxBatchDelay = cmp.Or(c.maxBatchDelay, defaultMaxBatchDelay)
	if c.Observer == nil {
		c.Observer = func(Event) {}
	}
	return c, reserve
}

func (c Config) limits() Limits {
	return Limits{TTL: c.TTL, Retention: c.Retention, Wait: c.Wait, Budget: c.Budget, MaxBatch: c.MaxBatch}
}

// or returns the limits with those of other, or the defaults, where there are none.
func (l Limits) or(other Limits) Limits {
	l.TTL = cmp.Or(l.TTL, other.TTL, DefaultTTL)
	l.Retention = cmp.Or(l.Retention, max(cmp.Or(other.Retention, DefaultRetention), l.TTL))
	l.Wait = cmp.Or(l.Wait, other.Wait, DefaultWait)
	l.Budget = cmp.Or(l.Budget, other.Budget, DefaultBudget)
	l.MaxBatch = cmp.Or(l.MaxBatch, other.MaxBatch, DefaultMaxBatch)
	return l
}

func (l Limits) with(options []Option) Limits {
	for _, option := range options {
		option(&l)
	}
	return l
}

// validate reports what is wrong with limits that have their defaults. Postgres keeps
// times in microseconds, and time-outs in milliseconds.
func (l Limits) validate() error {
	switch {
	case l.TTL < 0, l.Retention < 0, l.Wait < 0, l.Budget < 0, l.MaxBatch < 0:
		return errors.New("a limit of the idempotency configuration is negative")
	case l.TTL < time.Microsecond:
		return fmt.Errorf("the time to live (%s) is shorter than a microsecond", l.TTL)
	case l.Retention < l.TTL:
		return fmt.Errorf("the retention (%s) is shorter than the time to live (%s)", l.Retention, l.TTL)
	case l.Budget < time.Millisecond:
		return fmt.Errorf("the budget (%s) is shorter than a millisecond", l.Budget)
	case l.Budget.Milliseconds() > math.MaxInt32:
		return fmt.Errorf("the budget (%s) is longer than Postgres's timeouts can be, 24 days", l.Budget)
	}
	return nil
}
