package idempotency

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// An Operation runs calls that arrive together in one transaction: one commit for
// many. Each call keeps an identity and an outcome of its own, as with Do.
type Operation[I, T any] struct {
	engine *Engine
	name   string
	effect func(context.Context, pgx.Tx, []*Pending[I, T]) error
}

// A Pending is one call of a group while the effect runs.
type Pending[I, T any] struct {
	// Scope is the call's, Input what its caller gave to Do.
	Scope string
	Input I
	// Value is the call's result, which the effect sets.
	Value T
	// Err refuses the call, when the effect sets it and does nothing for the
	// call; the others of the group stand.
	Err error
}

// NewOperation returns an Operation whose calls the engine runs in groups of up to
// MaxGroup. Config.GroupBy says whether a group may have calls of many scopes.
//
// The effect does the work of all the pending calls, best in one statement that
// takes them as arrays, and sets Value or Err of each. What Do says of an effect
// holds for it, but that its context has no values: it is no caller's. When it
// returns an error or panics, nothing of the group stands, and the engine looks
// for the calls that are to blame, by halves, until each of them fails alone: the
// effect sees a call more than once, in groups that differ.
func NewOperation[I, T any](engine *Engine, name string, effect func(context.Context, pgx.Tx, []*Pending[I, T]) error) *Operation[I, T] {
	return &Operation[I, T]{engine, name, effect}
}

// Do runs the operation at most once for the call's scope and key, together with
// others, and returns its outcome to this call and to every later one with the
// same payload. The call's Operation is set to the operation's name. It returns
// the errors that the function Do returns.
func (o *Operation[I, T]) Do(ctx context.Context, call Call, input I) (Outcome[T], error) {
	call.Operation = o.name
	found, err := o.engine.do(ctx, call, o, input)
	return outcome[T](call, found, err)
}

func (*Operation[I, T]) grouped() bool { return true }

func (o *Operation[I, T]) run(ctx context.Context, tx pgx.Tx, group []*execution) error {
	pending := make([]*Pending[I, T], len(group))
	all := make([]Pending[I, T], len(group))
	for i, x := range group {
		all[i] = Pending[I, T]{Scope: x.flight.scope, Input: x.owner.input.(I)} //nolint:errcheck // Do put it there.
		pending[i] = &all[i]
	}
	if err := o.effect(ctx, tx, pending); err != nil {
		return err
	}
	for i, x := range group {
		if x.err = all[i].Err; x.err != nil {
			continue
		}
		data, decoded, err := encode(x.owner.call.codec(), all[i].Value)
		if err != nil {
			return err
		}
		x.response, x.value = data, decoded
	}
	return nil
}

// An effect is the work of a group of executions.
type effect interface {
	// run does it in tx: it sets the response or the err of each, or returns an
	// error, and then nothing of it may stand.
	run(ctx context.Context, tx pgx.Tx, group []*execution) error
	// grouped says whether it takes more than one.
	grouped() bool
}

// A lone effect is that of the function Do: it is its caller's own.
type lone[T any] struct {
	values context.Context //nolint:containedctx // For its values alone.
	effect func(context.Context, pgx.Tx) (T, error)
}

func (*lone[T]) grouped() bool { return false }

func (l *lone[T]) run(budget context.Context, tx pgx.Tx, group []*execution) error {
	value, err := l.effect(effectContext{budget, l.values}, tx)
	if err != nil {
		return err
	}
	data, decoded, err := encode(group[0].owner.call.codec(), value)
	group[0].response, group[0].value = data, decoded
	return err
}

// An effectContext ends with the budget and has the caller's values.
type effectContext struct {
	context.Context
	values context.Context
}

// Value implements context.Context.
func (c effectContext) Value(key any) any { return c.values.Value(key) }

// outcome decodes what the engine found for a call.
func outcome[T any](call Call, found found, err error) (Outcome[T], error) {
	if err != nil {
		return Outcome[T]{}, err
	}
	value, decoded := found.value.(T)
	if !decoded {
		if value, err = decode[T](call.codec(), found.response); err != nil {
			return Outcome[T]{}, fmt.Errorf("%w: reading the stored payload: %w", ErrUnavailable, err)
		}
	}
	return Outcome[T]{
		Value:      value,
		Replayed:   found.replayed,
		ExecutedAt: found.createdAt,
		ExpiresAt:  found.expiresAt,
		RequestID:  found.requestID,
	}, nil
}
