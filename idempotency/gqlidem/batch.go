package gqlidem

import (
	"context"
	"reflect"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

// An Operation is the effect of a mutation that runs for many calls at once, in
// one transaction with one commit.
type Operation[I, T any] struct {
	once      *Once
	operation *idempotency.Operation[I, T]
}

// NewOperation returns an Operation for the mutation field of that name; see
// idempotency.NewOperation for what the effect has to do. The Scope of what is
// pending is its tenant. Make it before the server uses the Once, which then
// checks that the field is marked, and the type T.
func NewOperation[I, T any](once *Once, field string, effect func(context.Context, pgx.Tx, []*idempotency.Pending[I, T]) error) *Operation[I, T] {
	once.batches = append(once.batches, keyedField{field, reflect.TypeFor[T]()})
	return &Operation[I, T]{once, idempotency.NewOperation(once.engine, field, effect)}
}

// Do is the function Do with the operation's effect: it runs it at most once for
// the key of the mutation field that is being resolved, together with others.
func (o *Operation[I, T]) Do(ctx context.Context, input I) (T, error) {
	outcome, err := o.DoOutcome(ctx, input)
	return outcome.Value, err
}

// DoOutcome is the function DoOutcome with the operation's effect.
func (o *Operation[I, T]) DoOutcome(ctx context.Context, input I) (idempotency.Outcome[T], error) {
	call, err := o.once.call(ctx, reflect.TypeFor[T]())
	if err != nil {
		return idempotency.Outcome[T]{}, err
	}
	outcome, err := o.operation.Do(ctx, call, input)
	return answer(ctx, outcome, err)
}
