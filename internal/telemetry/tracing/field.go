package tracing

import (
	"context"

	"github.com/99designs/gqlgen/graphql"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/idempotency/gqlidem"
	"github.com/onceql/onceql/internal/telemetry"
)

// Fields returns an extension that records each keyed field, or nil while traces are off.
func (t *Tracing) Fields() graphql.HandlerExtension {
	if !t.On() {
		return nil
	}
	return fields{t}
}

type fields struct{ *Tracing }

// ExtensionName implements graphql.HandlerExtension.
func (fields) ExtensionName() string { return "Tracing" }

// Validate implements graphql.HandlerExtension.
func (fields) Validate(graphql.ExecutableSchema) error { return nil }

// InterceptRootField implements graphql.RootFieldInterceptor.
func (f fields) InterceptRootField(ctx context.Context, next graphql.RootResolver) graphql.Marshaler {
	field := graphql.GetRootFieldContext(ctx).Field
	if _, recorded := recording(ctx); !recorded || field.Definition.Directives.ForName(gqlidem.Directive) == nil {
		return next(ctx)
	}
	ctx, span := f.parts.Start(ctx, field.Name, trace.WithAttributes(attribute.String("onceql.operation", field.Name)))
	defer span.End()
	return next(ctx)
}

// Ended says in the span of a keyed field, whose context ctx is, what became of it. A
// replay links to the span that executed, where that was recorded.
func (t *Tracing) Ended(ctx context.Context, call telemetry.Call) {
	span, recorded := recording(ctx)
	if !t.On() || !recorded {
		return
	}
	replayed := call.Outcome == telemetry.CallReplayed
	span.SetAttributes(
		attribute.String("onceql.outcome", call.Outcome.String()),
		attribute.Bool("onceql.replayed", replayed),
		attribute.String("onceql.key_hash", idempotency.KeyHash(call.Tenant, call.Key)),
		attribute.String("onceql.tenant", telemetry.Tenant(call.Tenant)),
	)
	switch call.Outcome {
	case telemetry.CallInternal, telemetry.CallUnavailable:
		span.SetStatus(codes.Error, "")
	case telemetry.CallReplayed:
		span.SetAttributes(attribute.String("onceql.executed_by", call.ExecutedBy))
		linkToExecution(span, call)
	}
}

func linkToExecution(span trace.Span, call telemetry.Call) {
	traceID, err := trace.TraceIDFromHex(call.ExecutedTrace)
	if err != nil {
		return
	}
	spanID, err := trace.SpanIDFromHex(call.ExecutedSpan)
	if err != nil {
		return
	}
	span.AddLink(trace.Link{
		SpanContext: trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: traceID, SpanID: spanID, TraceFlags: trace.FlagsSampled, Remote: true,
		}),
		Attributes: linkedExecution,
	})
}

var linkedExecution = []attribute.KeyValue{attribute.String("onceql.link", "execution")}
