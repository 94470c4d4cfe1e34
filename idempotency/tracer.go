package idempotency

import (
	"context"

	"github.com/onceql/onceql/idempotency/internal/store"
)

// A Tracer makes traces of how an engine serves its calls. It is told no key and no
// payload. Its methods, and those of what they return, are called from many goroutines,
// must be quick, as one that blocks holds a worker, and must not panic, which may end the
// process.
type Tracer interface {
	// Follow is told of each call as it begins to wait, with its caller's context. It
	// returns what stands for the call in its trace, and nil where none is recorded: what
	// has no call that is followed costs nothing more.
	Follow(ctx context.Context) any
	// Execution is told of each transaction that serves followed calls, among so many of
	// that operation, as their wait for it ends. A call has several when it runs again.
	// Calls whose outcome a look-up finds, and those that wait for another with their key,
	// have none.
	Execution(ctx context.Context, operation string, calls int, followed []any) Execution
}

// An Execution is a transaction in a Tracer's hands.
type Execution interface {
	// Step begins a step of the transaction. What it does has the context that is returned,
	// also the statements of an effect. done is called when it ends, with why it failed, or
	// nil: an effect's own error may hold what the effect put there.
	Step(ctx context.Context, step Step) (_ context.Context, done func(err error))
	// End is called once the transaction is over and its calls are answered, or will run
	// again.
	End()
}

// A Step is a part of an execution.
type Step string

const (
	// StepClaim begins the transaction, tries the locks and looks for the rows: one round
	// trip.
	StepClaim Step = "claim"
	// StepEffect is a run of the effect. A batch that fails has more than one.
	StepEffect Step = "effect"
	// StepCommit inserts the rows and commits: one round trip.
	StepCommit Step = "commit"
)

// followed is what the tracer returned of the calls that it follows.
func followed(calls []*call) (traced []any) {
	for _, c := range calls {
		if f := c.Leader.followed; f != nil {
			traced = append(traced, f)
		}
	}
	return traced
}

// A trace is the Execution of a transaction, if there is one.
type trace struct{ of Execution }

func (e *Engine) trace(ctx context.Context, calls []*call) trace {
	if e.config.Tracer == nil {
		return trace{}
	}
	traced := followed(calls)
	if len(traced) == 0 {
		return trace{}
	}
	return trace{e.config.Tracer.Execution(ctx, calls[0].Leader.call.Operation, len(calls), traced)}
}

func (t trace) step(ctx context.Context, step Step) (context.Context, func(*store.Failure)) {
	if t.of == nil {
		return ctx, func(*store.Failure) {}
	}
	ctx, done := t.of.Step(ctx, step)
	return ctx, func(failure *store.Failure) {
		if failure == nil {
			done(nil)
		} else {
			done(failure.Err)
		}
	}
}

func (t trace) end() {
	if t.of != nil {
		t.of.End()
	}
}
