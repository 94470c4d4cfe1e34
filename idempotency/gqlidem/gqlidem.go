package gqlidem

import (
	"context"
	"fmt"

	"github.com/99designs/gqlgen/graphql"
	"github.com/jackc/pgx/v5"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/onceql/onceql/idempotency"
)

// KeyArgument is the argument of every idempotent mutation that carries the key.
const KeyArgument = "idempotencyKey"

// Directive marks the mutations that are idempotent.
const Directive = "idempotent"

// Once makes the mutations of one gqlgen server idempotent. Give it to the
// server's Use: it checks the schema, and puts the status of each keyed field in
// the response's extensions. One Once serves one schema.
type Once struct {
	engine    *idempotency.Engine
	tenant    func(context.Context) (string, error)
	requestID func(context.Context) string
	codecs    map[string]idempotency.Codec
	schema    *ast.Schema
}

// An Option adjusts a Once.
type Option func(*Once)

// WithRequestID tells how to find the id of the request that a context belongs
// to. It is stored with the result and named by every replay.
func WithRequestID(requestID func(context.Context) string) Option {
	return func(o *Once) { o.requestID = requestID }
}

// WithCodec registers how the payloads of a GraphQL type are stored. Types that
// reach a union or an interface need one; others are stored by encoding/json.
func WithCodec(payloadType string, codec idempotency.Codec) Option {
	return func(o *Once) { o.codecs[payloadType] = codec }
}

// New returns a Once on the engine. tenant names whose keys a request may use;
// its error is the field's error, before the key is looked at.
func New(engine *idempotency.Engine, tenant func(context.Context) (string, error), options ...Option) *Once {
	o := &Once{
		engine:    engine,
		tenant:    tenant,
		requestID: func(context.Context) string { return "" },
		codecs:    map[string]idempotency.Codec{},
	}
	for _, option := range options {
		option(o)
	}
	return o
}

// Close drains the engine, see idempotency.Engine.Close.
func (o *Once) Close(ctx context.Context) error { return o.engine.Close(ctx) }

// Do runs effect at most once for the key of the mutation field that is being
// resolved, and returns the payload, as idempotency.Do does. Call it from the
// field's resolver and return what it returns: its errors carry their code.
func Do[T any](ctx context.Context, once *Once, effect func(context.Context, pgx.Tx) (T, error)) (T, error) {
	call, err := once.call(ctx)
	if err != nil {
		return *new(T), err
	}
	outcome, err := idempotency.Do(ctx, once.engine, call, effect)
	return answer(ctx, outcome, err)
}

// An Operation is the effect of a mutation that runs for many calls at once, in
// one transaction with one commit.
type Operation[I, T any] struct {
	once      *Once
	operation *idempotency.Operation[I, T]
}

// NewOperation returns an Operation for the mutation field of that name; see
// idempotency.NewOperation for what the effect has to do. The Scope of what is
// pending is its tenant.
func NewOperation[I, T any](once *Once, field string, effect func(context.Context, pgx.Tx, []*idempotency.Pending[I, T]) error) *Operation[I, T] {
	return &Operation[I, T]{once, idempotency.NewOperation(once.engine, field, effect)}
}

// Do is the function Do with the operation's effect: it runs it at most once for
// the key of the mutation field that is being resolved, together with others.
func (o *Operation[I, T]) Do(ctx context.Context, input I) (T, error) {
	call, err := o.once.call(ctx)
	if err != nil {
		return *new(T), err
	}
	outcome, err := o.operation.Do(ctx, call, input)
	return answer(ctx, outcome, err)
}

// answer gives the field its value and its status, or its error.
func answer[T any](ctx context.Context, outcome idempotency.Outcome[T], err error) (T, error) {
	if err != nil {
		return *new(T), fieldError(err)
	}
	record(ctx, status{
		Replayed:   outcome.Replayed,
		ExecutedAt: outcome.ExecutedAt,
		ExpiresAt:  outcome.ExpiresAt,
		RequestID:  outcome.RequestID,
	})
	return outcome.Value, nil
}

// call describes the mutation field that is being resolved.
func (o *Once) call(ctx context.Context) (idempotency.Call, error) {
	fc := graphql.GetFieldContext(ctx)
	if o.schema == nil || fc == nil || fc.Field.Definition == nil {
		return idempotency.Call{}, fieldError(fmt.Errorf("%w: not in the resolver of a server that uses the extension", idempotency.ErrCall))
	}
	tenant, err := o.tenant(ctx)
	if err != nil {
		return idempotency.Call{}, unshared(err)
	}
	key, ok := fc.Args[KeyArgument].(string)
	if !ok {
		return idempotency.Call{}, fieldError(fmt.Errorf("%w: the field has no argument %s", idempotency.ErrCall, KeyArgument))
	}
	variables := graphql.GetOperationContext(ctx).Variables
	hash, err := Fingerprint(o.schema, fc.Field.Field, variables, KeyArgument, FingerprintVersion)
	if err != nil {
		return idempotency.Call{}, newError(err, CodeBadUserInput, err.Error(), false)
	}
	return idempotency.Call{
		Scope:     tenant,
		Key:       key,
		Operation: fc.Field.Name,
		RequestID: o.requestID(ctx),
		Fingerprint: func(version int16) ([32]byte, bool) {
			return hash, version == FingerprintVersion
		},
		Codec: o.codecs[fc.Field.Definition.Type.Name()],
	}, nil
}
