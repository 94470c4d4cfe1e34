package gqlidem

import (
	"context"
	"crypto/sha256"
	"fmt"
	"reflect"
	"sync"

	"github.com/99designs/gqlgen/graphql"
	"github.com/jackc/pgx/v5"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/onceql/onceql/idempotency"
)

// KeyArgument is the argument of every idempotent mutation that carries the key.
const KeyArgument = "idempotencyKey"

// Directive marks the mutations that are idempotent.
const Directive = "idempotent"

// Once makes the marked mutations of one gqlgen server idempotent. Give it to the
// server's Use, after extensions that find documents, such as
// extension.AutomaticPersistedQuery: it checks the schema and the types of the
// payloads, has block strings read as the specification says, refuses what ValueFault
// finds in operations with a marked field, and puts the status of each keyed field in
// the response's extensions. One Once serves one schema.
type Once struct {
	engine    *idempotency.Engine
	tenant    func(context.Context) (string, error)
	requestID func(context.Context) string
	trace     func(context.Context) (traceID, spanID string)
	strict    bool
	codecs    map[string]idempotency.Codec
	unions    unions
	batches   []keyedField
	schema    *ast.Schema
	// payloads has a payload for each reflect.Type that a resolver stored.
	payloads sync.Map
}

// MutateOperationParameters implements graphql.OperationParameterMutator.
func (*Once) MutateOperationParameters(_ context.Context, params *graphql.RawParams) *gqlerror.Error {
	params.Query = BlockStrings(params.Query)
	return nil
}

// An Option adjusts a Once.
type Option func(*Once)

// WithRequestID tells how to find the id of the request that a context belongs
// to. It is stored with the result and named by every replay.
func WithRequestID(requestID func(context.Context) string) Option {
	return func(o *Once) { o.requestID = requestID }
}

// WithTraceID tells how to find the ids of the trace and of the span that a context belongs
// to, see the fields of idempotency.Call. They are stored with the result, so that what
// watches replays can name the trace that executed.
func WithTraceID(trace func(context.Context) (traceID, spanID string)) Option {
	return func(o *Once) { o.trace = trace }
}

// WithCodec registers how the payloads of a GraphQL type are stored, for what
// neither encoding/json nor Union can do. Their Go type is not checked then.
func WithCodec(payloadType string, codec idempotency.Codec) Option {
	return func(o *Once) { o.codecs[payloadType] = codec }
}

// Strict makes a server that has mutations without the directive @idempotent stop
// at its start. Without it, they are left alone.
func Strict() Option {
	return func(o *Once) { o.strict = true }
}

// New returns a Once on the engine. tenant names whose keys a request may use;
// its error is the field's error, before the key is looked at.
func New(engine *idempotency.Engine, tenant func(context.Context) (string, error), options ...Option) *Once {
	o := &Once{
		engine:    engine,
		tenant:    tenant,
		requestID: func(context.Context) string { return "" },
		trace:     func(context.Context) (string, string) { return "", "" },
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
// field's resolver and return what it returns: its errors carry their code. The options
// set limits of the operation's own.
func Do[T any](ctx context.Context, once *Once, effect func(context.Context, pgx.Tx) (T, error), options ...idempotency.Option) (T, error) {
	outcome, err := DoOutcome(ctx, once, effect, options...)
	return outcome.Value, err
}

// DoOutcome is Do for a resolver that wants to know whether this call executed.
// What it does only where the outcome is not Replayed happens after the commit and
// at most once for the key: not at all when the process ends before.
func DoOutcome[T any](ctx context.Context, once *Once, effect func(context.Context, pgx.Tx) (T, error),
	options ...idempotency.Option,
) (idempotency.Outcome[T], error) {
	call, err := once.call(ctx, reflect.TypeFor[T]())
	if err != nil {
		return idempotency.Outcome[T]{}, err
	}
	for _, option := range options {
		option(&call.Limits)
	}
	outcome, err := idempotency.Do(ctx, once.engine, call, effect)
	return answer(ctx, outcome, err)
}

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

// answer gives the field its status, or its error.
func answer[T any](ctx context.Context, outcome idempotency.Outcome[T], err error) (idempotency.Outcome[T], error) {
	if err != nil {
		return idempotency.Outcome[T]{}, fieldError(err)
	}
	addStatus(ctx, status{
		Replayed:   outcome.Replayed,
		ExecutedAt: outcome.ExecutedAt,
		ExpiresAt:  outcome.ExpiresAt,
		RequestID:  outcome.RequestID,
	})
	return outcome, nil
}

// call describes the mutation field that is being resolved, whose payload is
// stored as the Go type says.
func (o *Once) call(ctx context.Context, payload reflect.Type) (idempotency.Call, error) {
	fc, key, err := o.keyed(ctx)
	if err != nil {
		return idempotency.Call{}, err
	}
	codec, err := o.codec(fc.Field.Definition.Type.Name(), payload)
	if err != nil {
		return idempotency.Call{}, fieldError(fmt.Errorf("%w: %w", idempotency.ErrPayload, err))
	}
	call, _, err := o.describe(ctx, fc, key)
	call.Codec = codec
	return call, err
}

// Describe returns the call that Do would make for the mutation field that is being
// resolved, and the canonical form that its fingerprint is the hash of. Its error is the
// field's.
func (o *Once) Describe(ctx context.Context) (call idempotency.Call, canonical []byte, err error) {
	fc, key, err := o.keyed(ctx)
	if err != nil {
		return idempotency.Call{}, nil, err
	}
	return o.describe(ctx, fc, key)
}

// keyed returns the marked field that is being resolved, and its key.
func (o *Once) keyed(ctx context.Context) (fc *graphql.FieldContext, key string, err error) {
	fc = graphql.GetFieldContext(ctx)
	if o.schema == nil || fc == nil || fc.Field.Field == nil || fc.Field.Definition == nil {
		return nil, "", misuse("it was called outside of the resolvers of a server that uses the Once")
	}
	if fc.Field.Definition.Directives.ForName(Directive) == nil {
		return nil, "", misuse("the field %s.%s is not marked @%s", fc.Object, fc.Field.Name, Directive)
	}
	key, ok := fc.Args[KeyArgument].(string)
	if !ok {
		return nil, "", misuse("the field %s.%s has no argument `%s: String!`", fc.Object, fc.Field.Name, KeyArgument)
	}
	return fc, key, nil
}

func (o *Once) describe(ctx context.Context, fc *graphql.FieldContext, key string) (idempotency.Call, []byte, error) {
	tenant, err := o.tenant(ctx)
	if err != nil {
		return idempotency.Call{}, nil, unshared(err)
	}
	variables := graphql.GetOperationContext(ctx).Variables
	form, err := Canonical(o.schema, fc.Field.Field, variables, KeyArgument, FingerprintVersion)
	if err != nil {
		return idempotency.Call{}, nil, newError(err, CodeBadUserInput, err.Error(), false)
	}
	hash := sha256.Sum256(form)
	traceID, spanID := o.trace(ctx)
	return idempotency.Call{
		Scope:     tenant,
		Key:       key,
		Operation: fc.Field.Name,
		RequestID: o.requestID(ctx),
		TraceID:   traceID,
		SpanID:    spanID,
		Fingerprint: func(version int16) ([32]byte, bool) {
			return hash, version == FingerprintVersion
		},
		Size: len(form),
	}, form, nil
}

// misuse is the error of a resolver that must not call Do: a defect of the server.
func misuse(format string, args ...any) error {
	return fieldError(fmt.Errorf("%w: gqlidem: %w", idempotency.ErrCall, fmt.Errorf(format, args...)))
}
