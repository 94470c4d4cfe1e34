package idempotency

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// An Engine runs calls at most once per scope and key. It is safe for use by
// many goroutines; several engines, in one process or in many, may share a
// database.
type Engine struct {
	pool   *pgxpool.Pool
	config Config

	// stop ends the purge.
	stop    context.CancelFunc
	workers sync.WaitGroup
	// landed is closed when the engine is closing and no flight is left.
	landed chan struct{}

	mu      sync.Mutex
	flights map[identity]*flight
	// Flights that run alone and those that run in groups have workers of their
	// own, so that a slow effect never holds a group up.
	alone, grouped line
	closing        bool
}

// New returns an engine on the pool. The table of Schema has to be there before
// the first call. New panics when config is not valid, see Config.Validate; end
// the engine with Close.
func New(pool *pgxpool.Pool, config Config) *Engine {
	if err := config.Validate(); err != nil {
		panic("idempotency: " + err.Error())
	}
	config = config.withDefaults(pool.Config().MaxConns)
	// The engine's own life, which Close ends.
	ctx, stop := context.WithCancel(context.Background()) //nolint:forbidigo // No caller's context lives as long.
	e := &Engine{
		pool:    pool,
		config:  config,
		stop:    stop,
		landed:  make(chan struct{}),
		flights: map[identity]*flight{},
	}
	e.alone.init(&e.mu, config.Queue, 0)
	e.grouped.init(&e.mu, config.Queue, patience)
	for line, workers := range map[*line]int{&e.alone: config.Workers, &e.grouped: config.Groups} {
		for range workers {
			e.workers.Go(func() { e.serve(ctx, line) })
		}
	}
	if config.PurgeEvery > 0 {
		e.workers.Go(func() { e.purgeRegularly(ctx) })
	}
	return e
}

// Close takes no new calls and waits until those that it has are answered, then
// releases the engine's goroutines. When ctx ends first, it answers whoever
// still waits with ErrClosed and returns ctx's error; what is queued is dropped,
// and transactions that are under way end by themselves within Config.Budget,
// and the goroutines with them. Close may be called again to wait for that. The
// pool stays open.
func (e *Engine) Close(ctx context.Context) error {
	e.mu.Lock()
	if !e.closing {
		e.closing = true
		e.stop()
		e.release()
	}
	e.mu.Unlock()

	select {
	case <-e.landed:
		e.workers.Wait()
		return nil
	case <-ctx.Done():
		e.abandon()
		return ctx.Err()
	}
}

// release lets Close and the workers go once the engine is closing and no flight
// is left. The caller holds the mutex.
func (e *Engine) release() {
	if e.closing && len(e.flights) == 0 {
		close(e.landed)
		e.alone.work.Broadcast()
		e.grouped.work.Broadcast()
	}
}

// abandon answers everyone who still waits.
func (e *Engine) abandon() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, f := range e.flights {
		for _, r := range f.requests {
			r.answer <- answer{err: ErrClosed}
		}
		f.requests = nil
	}
}

// Refuses says whether a new call of the scope would be refused with ErrOverloaded
// now, because the queue is full and the scope has its fair share of it.
func (e *Engine) Refuses(scope string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.alone.queue.refuses(scope) || e.grouped.queue.refuses(scope)
}

// serve is a worker of the line: it runs one group after the other.
func (e *Engine) serve(ctx context.Context, line *line) {
	for {
		group := e.next(line)
		if group == nil {
			return
		}
		e.run(ctx, group)
		e.mu.Lock()
		line.running -= len(group)
		e.mu.Unlock()
	}
}

// next waits for flights, and returns the executions that their owners ask for, or
// nil once the engine is closing and no flight is left.
func (e *Engine) next(line *line) []*execution {
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		flights := line.pop(e.config.GroupBy == GroupByScope)
		if flights == nil {
			if e.closing && len(e.flights) == 0 {
				return nil
			}
			line.work.Wait()
			continue
		}
		group := make([]*execution, 0, len(flights))
		for _, f := range flights {
			// The owner may have left since, and another waiter owns the flight,
			// or nobody.
			if len(f.requests) > 0 && f.requests[0].group() == f.group {
				group = append(group, &execution{flight: f, owner: f.requests[0]})
			} else {
				e.enqueue(f)
			}
		}
		line.running += len(group)
		line.stir()
		if len(group) > 0 {
			return group
		}
	}
}

// enqueue gives the flight to the workers, or drops it when nobody waits for it
// any more. The caller holds the mutex.
func (e *Engine) enqueue(f *flight) {
	if len(f.requests) == 0 {
		e.land(f)
		return
	}
	f.group = f.requests[0].group()
	line := e.line(f)
	line.queue.push(f)
	line.stir()
}

func (e *Engine) line(f *flight) *line {
	if f.group == nil {
		return &e.alone
	}
	return &e.grouped
}

// backoff is the pause before the attempt after attempt: it doubles from least
// to most and is random over its upper half, so that rivals part.
func backoff(attempt int, least, most time.Duration) time.Duration {
	pause := min(most, least<<min(attempt, 16))
	return pause/2 + rand.N(pause/2+1)
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
