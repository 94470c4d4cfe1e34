package idempotency

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
)

// A flight is everything that this engine has to do with one key at a time: it
// is queued for a worker, runs, or is parked while another process executes the
// key. Callers with the key join it and hold no connection.
type flight struct {
	identity
	// requests are the callers that still wait, in the order they came. The
	// first one owns the next execution.
	requests []*request
	// group is the effect whose lane of the queue the flight is in, nil for one
	// that its flight does not share.
	group effect
	// polls counts how often in a row the key was busy in another process.
	polls int
}

// A request is one caller's wait for the outcome of its call.
type request struct {
	call Call
	// hash is the payload's fingerprint in the version that is written.
	hash [32]byte
	// effect runs the call, with input when it is one of a group.
	effect effect
	input  any
	// executionID tells this caller's own committed row from another's.
	executionID uuid.UUID
	// failed counts the attempts, as the flight's owner, that came to nothing.
	failed int
	// answer takes the one answer; it has room for it, so that nobody waits for
	// a caller that left.
	answer chan answer
}

type answer struct {
	found found
	err   error
}

// do waits for the outcome of the call, at most as long as Config.Wait.
func (e *Engine) do(ctx context.Context, call Call, effect effect, input any) (found, error) {
	if err := call.validate(); err != nil {
		return found{}, err
	}
	hash, known := call.Fingerprint(e.config.FingerprintVersion)
	if !known {
		return found{}, fmt.Errorf("%w: its fingerprint has no version %d", ErrCall, e.config.FingerprintVersion)
	}
	r := &request{
		call:        call,
		hash:        hash,
		effect:      effect,
		input:       input,
		executionID: uuid.New(),
		answer:      make(chan answer, 1),
	}
	row, err := e.await(ctx, r)
	if err != nil {
		return found{}, err
	}
	// Here, and not by the worker: what the call's own code does is its caller's.
	event := Event{Kind: Executed, ExecutedBy: row.requestID}
	if row.replayed {
		event.Kind = Replayed
		if err = row.judge(r, e.config.FingerprintVersion); err != nil {
			event = Event{Kind: Refused, Err: err}
		}
	}
	e.observe(event, r)
	return row, err
}

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
	f := &flight{identity: id, requests: []*request{r}, group: r.group()}
	evicted, ok := e.line(f).queue.admit(id.scope)
	if !ok {
		return ErrOverloaded
	}
	if evicted != nil {
		e.land(evicted)
		for _, other := range evicted.requests {
			other.answer <- answer{err: ErrOverloaded}
		}
	}
	e.flights[id] = f
	e.enqueue(f)
	return nil
}

// group is the effect that runs the request together with others, nil for none.
func (r *request) group() effect {
	if r.effect.grouped() {
		return r.effect
	}
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

// land ends the flight. The caller holds the mutex.
func (e *Engine) land(f *flight) {
	delete(e.flights, f.identity)
	e.release()
}

// committed answers everyone who waits with what the key did.
func (e *Engine) committed(x *execution, row found) {
	e.mu.Lock()
	requests := x.flight.requests
	e.land(x.flight)
	e.mu.Unlock()
	for _, r := range requests {
		if r == x.owner && row.executionID == x.owner.executionID {
			r.answer <- answer{found: row}
		} else {
			r.answer <- answer{found: found{record: row.record, replayed: true}}
		}
	}
}

// refuse answers the owners with a definite error, and with each of them everyone
// who asked for the very same thing. Any other waiter takes over.
func (e *Engine) refuse(group []*execution, err error) {
	for _, x := range group {
		e.end(x, err, func(r *request) bool {
			return r == x.owner || r.hash == x.owner.hash && r.call.Operation == x.owner.call.Operation
		})
	}
}

// fail answers the owners alone; the next waiters take over.
func (e *Engine) fail(group []*execution, err error) {
	for _, x := range group {
		e.end(x, err, func(r *request) bool { return r == x.owner })
	}
}

// end ends the execution with an error, which it tells those whom it concerns.
func (e *Engine) end(x *execution, err error, concerns func(*request) bool) {
	e.observe(Event{Kind: Failed, Err: err}, x.owner)
	var answered []*request
	e.mu.Lock()
	x.flight.requests = slices.DeleteFunc(x.flight.requests, func(r *request) bool {
		if concerns(r) {
			answered = append(answered, r)
			return true
		}
		return false
	})
	e.enqueue(x.flight)
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
