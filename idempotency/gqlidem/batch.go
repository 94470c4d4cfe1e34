package gqlidem

import (
	"context"
	"reflect"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

// A Batch is the effect of a mutation that runs for many calls at once, in one
// transaction with one commit.
type Batch[I, T any] struct {
	once  *Once
	batch *idempotency.Batch[I, T]
}

// NewBatch returns a Batch for the mutation field of that name; see
// idempotency.NewBatch for the scopes, what the effect has to do, and the options. The
// Scope of an item is its tenant. Make it before the server uses the Once, which then
// checks that the field is marked, and the type T.
func NewBatch[I, T any](once *Once, field string, scopes idempotency.Scopes,
	effect func(context.Context, pgx.Tx, []*idempotency.Item[I, T]) error, options ...idempotency.Option,
) *Batch[I, T] {
	once.batches = append(once.batches, keyedField{field, reflect.TypeFor[T]()})
	return &Batch[I, T]{once, idempotency.NewBatch(once.engine, field, scopes, effect, options...)}
}

// Do is the function Do with the batch's effect: it runs it at most once for
// the key of the mutation field that is being resolved, together with others.
func (b *Batch[I, T]) Do(ctx context.Context, input I) (T, error) {
	outcome, err := b.DoOutcome(ctx, input)
	return outcome.Value, err
}

// DoOutcome is the function DoOutcome with the batch's effect.
func (b *Batch[I, T]) DoOutcome(ctx context.Context, input I) (idempotency.Outcome[T], error) {
	call, err := b.once.call(ctx, reflect.TypeFor[T]())
	if err != nil {
		return idempotency.Outcome[T]{}, err
	}
	outcome, err := b.batch.Do(ctx, call, input)
	return answer(ctx, outcome, err)
}
