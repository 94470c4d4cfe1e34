package idempotency

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/idempotency/internal/schedule"
	"github.com/onceql/onceql/idempotency/internal/store"
)

// An Engine runs calls at most once per scope and key. It is safe for use by
// many goroutines; several engines, in one process or in many, may share a
// database.
type Engine struct {
	config   Config
	random   *random
	store    *store.Store
	schedule *schedule.Scheduler[*request, result]
	// stop ends the purge.
	stop  context.CancelFunc
	purge sync.WaitGroup
	// What Stats tells.
	bisections, purged, purgeFailures atomic.Uint64
	purgedAt                          atomic.Pointer[time.Time]
}

// While a batch is smaller than those under way it waits so long for more calls: less
// than one of those takes. A call that has waited so long for a worker is looked up.
const (
	defaultMaxBatchDelay = 2 * time.Millisecond
	lookUpAfter          = 5 * time.Millisecond
)

// New returns an engine on the pool. The table of Schema has to be there before
// the first call; Check tells. New panics when config is not valid, see
// Config.Validate, or when its Workers and Batches, as far as they are set, are
// together more than the pool's MaxConns. End the engine with Close.
func New(pool *pgxpool.Pool, config Config) *Engine {
	if err := config.Validate(); err != nil {
		panic("idempotency: " + err.Error())
	}
	maxConns := int(pool.Config().MaxConns)
	if config.Workers+config.Batches > maxConns {
		panic(fmt.Sprintf("idempotency: %d workers and %d batches need more than the pool's %d connections",
			config.Workers, config.Batches, maxConns))
	}
	config, reserve := config.withDefaults(maxConns)
	// It lasts until Close. What workers begin they finish.
	ctx, stop := context.WithCancel(context.Background()) //nolint:forbidigo // No caller's context lives as long.
	e := &Engine{config: config, random: newRandom(config.Random), store: store.New(pool), stop: stop}
	e.schedule = schedule.New(context.WithoutCancel(ctx), schedule.Config{
		Singles:       config.Workers,
		Batches:       config.Batches,
		Reserve:       reserve,
		Queue:         config.Queue,
		MaxBatchDelay: config.maxBatchDelay,
		LookUpAfter:   lookUpAfter,
		Jitter:        e.random.jitter,
	}, schedule.Hooks[*request, result]{Execute: e.execute, LookUp: e.lookUp, Same: same})
	if config.PurgeEvery > 0 {
		e.purge.Go(func() { e.purgeRegularly(ctx) })
	}
	return e
}

// same says whether two callers of one key ask for the same.
func same(a, b *request) bool {
	return a.hash == b.hash && a.call.Operation == b.call.Operation
}

// Check reports what would make the first call fail: the table idempotency_keys is not
// on the search_path or lacks a column or its primary key, the role lacks a right on
// it, or the database's encoding is not UTF8: that is ErrTable. Where the database can't
// be reached, or is a standby, it is ErrUnavailable.
func (e *Engine) Check(ctx context.Context) error {
	if failure := e.store.Check(ctx); failure != nil {
		return fmt.Errorf("checking the database: %w", failedBy(failure))
	}
	return nil
}

// Close takes no new calls and waits until those that it has are answered, then
// releases the engine's goroutines. When ctx ends first, it answers whoever
// still waits with ErrClosed and returns ctx's error; what is queued is dropped,
// and transactions that are under way end by themselves within their budget,
// and the goroutines with them. Close may be called again to wait for that. The
// pool stays open.
func (e *Engine) Close(ctx context.Context) error {
	e.stop()
	if err := e.schedule.Close(ctx); err != nil {
		return err
	}
	e.purge.Wait()
	return nil
}

// Stats is what an engine does at a moment, for metrics.
type Stats struct {
	// InFlight are the keys that have a call, Waiting the callers who wait for them.
	InFlight, Waiting int
	// Queued are the calls that wait for a worker. QueuedSingle and QueuedBatched are those
	// of them that will run singly and in batches, and QueuedApart those that will run in
	// batches of scopes that are kept apart.
	Queued, QueuedSingle, QueuedBatched, QueuedApart int
	// Workers and Batches are how many run something now, of each kind.
	Workers, Batches int
	// Apart are the scopes that harmed batches lately and have their own.
	Apart int
	// Away says that the database could not be reached at the last try.
	Away bool
	// Single and Batched count the calls that workers took so far, by how they ran.
	// A call that runs again is counted again.
	Single, Batched uint64
	// SingleWaits and BatchedWaits say how long those calls had been in the queue.
	SingleWaits, BatchedWaits Waits
	// Sizes counts the batches so far: those of 1 call, of 2, of 3 and 4, of up to 8,
	// 16, 32 and 64, and larger ones.
	Sizes [8]uint64
	// Bisections counts the batches so far that failed and were bisected.
	Bisections uint64
	// Purged are the rows that purges removed so far, PurgeFailures the purges that ended
	// with an error, and PurgedAt is when the last one ended well, by this process's clock:
	// the zero time before the first.
	Purged, PurgeFailures uint64
	PurgedAt              time.Time
}

// Waits counts calls by how long they had been in the queue when a worker took them.
type Waits struct {
	// Total is how long they had been there together.
	Total time.Duration
	// Counts are the calls that had waited at most as long as the bound of the same index,
	// see WaitBounds, and longer than the one before. The last are those that had waited
	// longer than all bounds.
	Counts [15]uint64
}

// WaitBounds returns the bounds of Waits.Counts, from 500 µs to 10 s.
func WaitBounds() []time.Duration { return schedule.WaitBounds() }

// Stats returns what the engine does now.
func (e *Engine) Stats() Stats {
	s := e.schedule.Stats()
	var purgedAt time.Time
	if at := e.purgedAt.Load(); at != nil {
		purgedAt = *at
	}
	return Stats{
		InFlight: s.InFlight, Waiting: s.Waiting,
		Queued: s.Queued, QueuedSingle: s.QueuedSingle, QueuedBatched: s.QueuedBatched, QueuedApart: s.QueuedApart,
		Workers: s.Singles, Batches: s.Batches, Apart: s.Apart, Away: s.Away,
		Single: s.Single.Calls, Batched: s.Batched.Calls,
		SingleWaits: Waits{s.Single.Waited, s.Single.Waits}, BatchedWaits: Waits{s.Batched.Waited, s.Batched.Waits},
		Sizes:      s.Batched.Sizes,
		Bisections: e.bisections.Load(),
		Purged:     e.purged.Load(), PurgeFailures: e.purgeFailures.Load(), PurgedAt: purgedAt,
	}
}

// lookUp finds the outcomes that are there already. One connection that falls silent, or
// one acknowledgement that does not come, keeps the others waiting for a short while only.
func (e *Engine) lookUp(ctx context.Context, calls []*call) {
	budget := e.config.limits().shared()
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	keys := sorted(calls)
	probed := make([]store.Key, 0, len(keys))
	polled := make([]bool, len(keys))
	for i, c := range calls {
		if polled[i] = c.Polled(); polled[i] {
			probed = append(probed, keys[i])
		}
	}
	limits := store.Limits{Lock: budget, Statement: budget, Idle: budget}
	tx, failure := e.store.LookUp(ctx, keys, probed, limits)
	if failure != nil {
		if failure.Owner == store.Database && ctx.Err() == nil {
			e.schedule.Unreachable(failure.Err)
		}
		return
	}
	defer tx.End(ctx)
	e.schedule.Reached()
	held := tx.Held
	for i, c := range calls {
		free := polled[i] && held[0]
		if polled[i] {
			held = held[1:]
		}
		if _, there := tx.Rows[keys[i]]; !there {
			c.Missed(free)
		}
	}
	if len(tx.Rows) == 0 || tx.Synchronous && tx.Acknowledge(ctx) != nil {
		return
	}
	for i, c := range calls {
		if row, there := tx.Rows[keys[i]]; there {
			c.Found(result{Row: row})
		}
	}
}
