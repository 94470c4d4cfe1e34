package graph

import (
	"context"
	"errors"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/onceql/onceql/graph/generated"
	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/idempotency/gqlidem"
	"github.com/onceql/onceql/internal/telemetry"
)

// Operations are the keyed mutations of the schema, in its order.
func Operations() []string {
	var names []string
	for _, field := range generated.NewExecutableSchema(generated.Config{}).Schema().Mutation.Fields {
		if field.Directives.ForName(gqlidem.Directive) != nil {
			names = append(names, field.Name)
		}
	}
	return names
}

// told runs the tenant's call of the mutation field that is being resolved, and tells
// r.Ended what became of it, whatever that is.
func told[T any](ctx context.Context, r *Resolver, tenant string, run func() (idempotency.Outcome[T], error)) (outcome idempotency.Outcome[T], err error) {
	if r.Ended == nil {
		return run()
	}
	begun, returned := time.Now(), false
	defer func() {
		field := graphql.GetFieldContext(ctx)
		key, _ := field.Args[gqlidem.KeyArgument].(string)
		call := telemetry.Call{
			Tenant: tenant, Key: key, Operation: field.Field.Name,
			Outcome: telemetry.CallInternal, Duration: time.Since(begun), ExecutedBy: outcome.RequestID,
			ExecutedTrace: outcome.TraceID, ExecutedSpan: outcome.SpanID,
		}
		if returned { // And did not panic.
			call.Outcome = outcomeOf(ctx, outcome.Replayed, err)
		}
		r.Ended(ctx, call)
	}()
	outcome, err = run()
	returned = true
	return outcome, err
}

// outcomeOf says how a keyed call ended, as the code of its error has it.
func outcomeOf(ctx context.Context, replayed bool, err error) telemetry.Outcome {
	switch {
	case err == nil && replayed:
		return telemetry.CallReplayed
	case err == nil:
		return telemetry.CallExecuted
	}
	switch codeOf(err) {
	case gqlidem.CodeKeyReused:
		return telemetry.CallReused
	case gqlidem.CodeKeyExpired:
		return telemetry.CallExpired
	case gqlidem.CodeInternal:
		return telemetry.CallInternal
	case gqlidem.CodeInProgress:
		return unlessCancelled(ctx, telemetry.CallInProgress)
	case gqlidem.CodeUnavailable:
		return unlessCancelled(ctx, telemetry.CallUnavailable)
	}
	return telemetry.CallRefused
}

// unlessCancelled returns the outcome of a call whose caller may have gone away. A request
// that the server itself gives up for its time is not cancelled.
func unlessCancelled(ctx context.Context, outcome telemetry.Outcome) telemetry.Outcome {
	if errors.Is(ctx.Err(), context.Canceled) {
		return telemetry.CallCancelled
	}
	return outcome
}

// codeOf is the code that a resolver's error gets from present.
func codeOf(err error) string {
	var known *gqlerror.Error
	if errors.As(err, &known) {
		if code, _ := known.Extensions["code"].(string); code != "" {
			return code
		}
	}
	if unreachable(err) {
		return gqlidem.CodeUnavailable
	}
	return gqlidem.CodeInternal
}

// tellForbidden tells of a mutation field that the caller may not run.
func (a authorization) tellForbidden(ctx context.Context, field graphql.CollectedField) {
	if a.ended == nil || field.Definition.Directives.ForName(gqlidem.Directive) == nil {
		return
	}
	call := telemetry.Call{Operation: field.Name, Outcome: telemetry.CallRefused}
	if argument := field.Arguments.ForName(gqlidem.KeyArgument); argument != nil {
		value, _ := argument.Value.Value(graphql.GetOperationContext(ctx).Variables)
		call.Key, _ = value.(string)
	}
	if a.tenant != nil {
		call.Tenant, _ = a.tenant(ctx)
	}
	a.ended(ctx, call)
}
