package idempotency

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency/internal/schedule"
	"github.com/onceql/onceql/idempotency/internal/store"
)

// A Batch runs calls that arrive together in one transaction: one commit for
// many. Each call keeps an identity and an outcome of its own, as with Do, and none
// decides what becomes of another.
type Batch[I, T any] struct {
	engine    *Engine
	name      string
	operation *operation
}

// Scopes says whose calls may share a batch. The zero value is WithinScope().
type Scopes struct{ across bool }

// AcrossScopes lets a batch hold calls of many scopes. It is for effects that see no
// other scope's rows by mistake: one insert that reads nothing, or statements that
// name each item's scope. Policies of row-level security allow all scopes of the batch.
func AcrossScopes() Scopes { return Scopes{across: true} }

// WithinScope makes batches of one scope's calls: what an effect can see is the same
// as if each call ran alone.
func WithinScope() Scopes { return Scopes{} }

// An Item is one call of a batch while the effect runs. The effect calls one of
// Succeed, Fail and Decline for it; an item with none of them is ErrNoResult.
type Item[I, T any] struct {
	// Scope, Key and RequestID are the call's, Input what its caller gave to Do.
	Scope, Key, RequestID string
	Input                 I

	value T
	state state
	err   error
	tx    *store.EffectTx
}

// Succeed sets the call's result. It is told once the batch has committed.
func (i *Item[I, T]) Succeed(value T) {
	if i.state == undecided {
		i.value, i.state = value, succeeded
	}
}

// Fail refuses the call with err; whenever it is called, nothing of the item stands.
// Before the effect's first statement it costs the others nothing, and the statements
// that follow must do nothing for the item. Later the batch is undone and runs again
// without the item. The item runs singly, and its caller hears what that run says.
func (i *Item[I, T]) Fail(err error) {
	state := failed
	if i.tx.Begun() {
		state = failedLate
	}
	i.refuse(state, err)
}

// Decline refuses the call with err, and vouches that the effect has done nothing for
// it, so that nothing has to be undone. Set-based effects decline what their statement
// did not return.
func (i *Item[I, T]) Decline(err error) { i.refuse(failed, err) }

func (i *Item[I, T]) refuse(state state, err error) {
	if i.state == undecided || i.state == succeeded {
		if err == nil {
			err = ErrNoResult
		}
		i.state, i.err = state, err
	}
}

// NewBatch returns a Batch for calls of the operation with the name. scopes is
// AcrossScopes() or WithinScope(); options set limits of the operation's own.
//
// The effect does the work of all the items, best in one statement that takes them as
// arrays, and says what became of each, by the item and not by the order of rows. What
// Do says of an effect holds for it, but that its context has no values: it is no
// caller's. A batch's statements may wait for a lock for 50 ms, and run for a tenth of
// the budget: calls that need more run singly. Rows that several items may share are
// best locked in one order.
//
// When the effect returns an error or panics, nothing of that run stands. The engine
// finds the calls that are to blame, by bisecting, and runs them singly; their callers
// hear what that run says. So the effect sees a call more than once, in batches that
// differ.
//
// NewBatch panics when the limits make no sense.
func NewBatch[I, T any](engine *Engine, name string, scopes Scopes,
	effect func(context.Context, pgx.Tx, []*Item[I, T]) error, options ...Option,
) *Batch[I, T] {
	limits := Limits{}.with(options).or(engine.config.limits())
	if err := limits.validate(); err != nil {
		panic(fmt.Sprintf("idempotency: batch %s: %v", name, err))
	}
	payloadTypeOf(reflect.TypeFor[T]()) // Before the first call needs it.
	return &Batch[I, T]{engine, name, &operation{
		limits: limits,
		batch: &schedule.Batch{
			Max: limits.MaxBatch, Bytes: maxBatchInput,
			Across: scopes.across && engine.config.GroupBy == GroupByAll,
		},
		run: func(ctx context.Context, tx *store.EffectTx, items []*item) ([]verdict, error) {
			return runBatch(ctx, tx, items, effect)
		},
	}}
}

// The bounds of a batch, in bytes: what its calls bring, and what is stored of it.
const (
	maxBatchInput  = 4 << 20
	maxBatchStored = 8 << 20
)

// Do runs the batch's effect at most once for the call's scope and key, together with
// others, and returns its outcome to this call and to every later one with the
// same payload. The call's Operation is set to the batch's name, and its Limits are
// the batch's. It returns the errors that the function Do returns.
func (b *Batch[I, T]) Do(ctx context.Context, call Call, input I) (Outcome[T], error) {
	if err := checkType[T](call.codec()); err != nil {
		return Outcome[T]{}, err
	}
	call.Operation = b.name
	found, err := b.engine.do(ctx, &request{call: call, operation: b.operation, input: input})
	return outcome[T](call, found, err)
}

// errBatchSize reports results that are too large together.
var errBatchSize = errors.New("the results of the batch are too large for one transaction")

// runBatch runs a batch's effect and takes from each item what became of it.
func runBatch[I, T any](ctx context.Context, tx *store.EffectTx, items []*item,
	effect func(context.Context, pgx.Tx, []*Item[I, T]) error,
) ([]verdict, error) {
	all := make([]Item[I, T], len(items))
	typed := make([]*Item[I, T], len(items))
	for i, item := range items {
		call := &item.request.call
		all[i] = Item[I, T]{
			Scope: call.Scope, Key: call.Key, RequestID: call.RequestID, tx: tx,
			Input: item.request.input.(I), //nolint:errcheck // Do put it there.
		}
		typed[i] = &all[i]
	}
	if err := effect(ctx, tx, typed); err != nil {
		return nil, err
	}
	verdicts := make([]verdict, len(items))
	stored := 0
	for i := range all {
		v := &verdicts[i]
		v.state, v.err = all[i].state, all[i].err
		switch v.state {
		case undecided:
			v.state, v.err = failedLate, ErrNoResult
		case succeeded:
			var err error
			if v.response, v.value, err = encode(items[i].request.call.codec(), all[i].value); err != nil {
				v.state, v.err = failedLate, err
			}
		}
		if stored += len(v.response); stored > maxBatchStored && len(items) > 1 {
			return nil, errBatchSize
		}
	}
	return verdicts, nil
}
