package idempotency

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// A flight is everything that this engine has to do with one key at a time: it
// is queued for a worker, runs, or is parked while another process executes the
// key. Callers with the key join it and hold no connection.
type flight struct {
	identity
	// requests are the callers that still wait, in the order they came. The
	// first one owns the next execution.
	requests []*request
	// polls counts how often in a row the key was busy in another process.
	polls int
}

// A request is one caller's wait for the outcome of its call.
type request struct {
	call Call
	// hash is the payload's fingerprint in the version that is written.
	hash [32]byte
	// effect runs the caller's effect and returns the payload as it is stored.
	effect func(context.Context, pgx.Tx) ([]byte, error)
	// executionID tells this caller's own committed row from another's.
	executionID uuid.UUID
	// answer takes the one answer; it has room for it, so that nobody waits for
	// a caller that left.
	answer chan answer
}

type answer struct {
	found found
	err   error
}

// do waits for the outcome of the call, at most as long as Config.Wait.
func (e *Engine) do(ctx context.Context, call Call, effect func(context.Context, pgx.Tx) ([]byte, error)) (found, error) {
	if err := call.validate(); err != nil {
		return found{}, err
	}
	hash, known := call.Fingerprint(e.config.FingerprintVersion)
	if !known {
		return found{}, fmt.Errorf("%w: its fingerprint has no version %d", ErrCall, e.config.FingerprintVersion)
	}
	values := context.WithoutCancel(ctx)
	r := &request{
		call: call,
		hash: hash,
		effect: func(budget context.Context, tx pgx.Tx) ([]byte, error) {
			return effect(effectContext{budget, values}, tx)
		},
		executionID: uuid.New(),
		answer:      make(chan answer, 1),
	}
	if err := ctx.Err(); err != nil {
		return found{}, err
	}
	if err := e.join(r); err != nil {
		return found{}, err
	}
	wait := time.NewTimer(e.config.Wait)
	defer wait.Stop()
	select {
	case a := <-r.answer:
		return a.found, a.err
	case <-ctx.Done():
		return e.leave(r, context.Cause(ctx))
	case <-wait.C:
		return e.leave(r, nil)
	}
}

// An effectContext ends with the budget and has the caller's values.
type effectContext struct {
	context.Context
	values context.Context
}

// Value implements context.Context.
func (c effectContext) Value(key any) any { return c.values.Value(key) }

// join adds the request to its key's flight, and starts one where there is none.
func (e *Engine) join(r *request) error {
	id := identity{r.call.Scope, r.call.Key}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing {
		return ErrClosed
	}
	if f := e.flights[id]; f != nil {
		f.requests = append(f.requests, r)
		return nil
	}
	evicted, ok := e.queue.admit(id.scope)
	if !ok {
		return ErrOverloaded
	}
	if evicted != nil {
		e.land(evicted)
		for _, other := range evicted.requests {
			other.answer <- answer{err: ErrOverloaded}
		}
	}
	f := &flight{identity: id, requests: []*request{r}}
	e.flights[id] = f
	e.enqueue(f)
	return nil
}

// leave ends the caller's wait, unless its answer has come at the same moment.
// What runs goes on; what is still queued is dropped when nobody waits for it.
func (e *Engine) leave(r *request, cause error) (found, error) {
	e.mu.Lock()
	if f := e.flights[identity{r.call.Scope, r.call.Key}]; f != nil {
		if i := slices.Index(f.requests, r); i >= 0 {
			f.requests = slices.Delete(f.requests, i, i+1)
		}
	}
	e.mu.Unlock()
	select {
	case a := <-r.answer:
		return a.found, a.err
	default:
	}
	if cause != nil {
		return found{}, fmt.Errorf("%w: %w", ErrInProgress, cause)
	}
	return found{}, ErrInProgress
}

// owner returns the caller that owns the flight's next execution, or nil, and
// drops the flight, when nobody waits for it any more.
func (e *Engine) owner(f *flight) *request {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(f.requests) == 0 {
		e.land(f)
		return nil
	}
	return f.requests[0]
}

// land ends the flight. The caller holds the mutex.
func (e *Engine) land(f *flight) {
	delete(e.flights, f.identity)
	e.release()
}

// committed answers everyone who waits with what the key did.
func (e *Engine) committed(f *flight, owner *request, row record) {
	e.mu.Lock()
	requests := f.requests
	e.land(f)
	e.mu.Unlock()
	for _, r := range requests {
		if r == owner && row.executionID == owner.executionID {
			r.answer <- answer{found: found{record: row}}
			e.observe(Event{Kind: Executed, ExecutedBy: row.requestID}, r)
		} else if err := row.judge(r, e.config.FingerprintVersion); err != nil {
			r.answer <- answer{err: err}
			e.observe(Event{Kind: Refused, Err: err}, r)
		} else {
			r.answer <- answer{found: found{record: row, replayed: true}}
			e.observe(Event{Kind: Replayed, ExecutedBy: row.requestID}, r)
		}
	}
}

// refused answers the owner with the error that its effect returned, and with it
// everyone who asked for the very same thing. Any other waiter takes over.
func (e *Engine) refused(f *flight, owner *request, err error) {
	e.fail(f, err, func(r *request) bool {
		return r == owner || r.hash == owner.hash && r.call.Operation == owner.call.Operation
	})
}

// failed answers the owner alone; the next waiter takes over.
func (e *Engine) failed(f *flight, owner *request, err error) {
	e.fail(f, err, func(r *request) bool { return r == owner })
}

func (e *Engine) fail(f *flight, err error, concerns func(*request) bool) {
	var answered []*request
	e.mu.Lock()
	f.requests = slices.DeleteFunc(f.requests, func(r *request) bool {
		if concerns(r) {
			answered = append(answered, r)
			return true
		}
		return false
	})
	if len(f.requests) == 0 {
		e.land(f)
	} else {
		e.enqueue(f)
	}
	e.mu.Unlock()
	for _, r := range answered {
		r.answer <- answer{err: err}
	}
}

// park lets the flight wait, outside Postgres, for another process that executes
// its key.
func (e *Engine) park(f *flight) {
	delay := backoff(f.polls, 5*time.Millisecond, 250*time.Millisecond)
	f.polls++
	time.AfterFunc(delay, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.enqueue(f)
	})
}
