package tracing

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/onceql/onceql/idempotency"
)

// Engine returns what records the engine's steps, or nil while traces are off.
func (t *Tracing) Engine() idempotency.Tracer {
	if !t.On() {
		return nil
	}
	return engine{t}
}

// An engine implements idempotency.Tracer. An execution for one call is a part of that
// call's trace. One for several is a trace of its own, and linked with those of the calls:
// it is no more one's than another's.
type engine struct{ *Tracing }

// A follower is a call that is recorded. One execution at a time has it.
type follower struct {
	span trace.Span
	// since is when the call began to wait.
	since time.Time
	// served says that its wait is over: it had an execution.
	served atomic.Bool
}

// Follow implements idempotency.Tracer.
func (engine) Follow(ctx context.Context) any {
	span, recorded := recording(ctx)
	if !recorded {
		return nil
	}
	return &follower{span: span, since: time.Now()}
}

// Execution implements idempotency.Tracer.
func (e engine) Execution(ctx context.Context, operation string, calls int, followed []any) idempotency.Execution {
	now := time.Now()
	followers := make([]*follower, 0, len(followed))
	for _, one := range followed {
		f, ours := one.(*follower)
		if !ours {
			continue
		}
		followers = append(followers, f)
		if !f.served.Swap(true) {
			_, wait := e.parts.Start(trace.ContextWithSpan(ctx, f.span), "wait", trace.WithTimestamp(f.since))
			wait.End(trace.WithTimestamp(now))
		}
	}
	started := []trace.SpanStartOption{
		trace.WithTimestamp(now),
		trace.WithAttributes(attribute.String("onceql.operation", operation), attribute.Int("onceql.calls", calls)),
	}
	x := &execution{engine: e}
	if calls == 1 {
		_, x.span = e.parts.Start(trace.ContextWithSpan(ctx, followers[0].span), "execute "+operation, started...)
		return x
	}
	links := make([]trace.Link, len(followers))
	for i, f := range followers {
		links[i] = trace.Link{SpanContext: f.span.SpanContext(), Attributes: linkedCall}
	}
	_, x.span = e.parts.Start(ctx, "execute batch of "+operation, append(started, trace.WithNewRoot(), trace.WithLinks(links...))...)
	for _, f := range followers {
		f.span.AddLink(trace.Link{SpanContext: x.span.SpanContext(), Attributes: linkedBatch})
	}
	return x
}

// What links are for.
var (
	linkedCall  = []attribute.KeyValue{attribute.String("onceql.link", "call")}
	linkedBatch = []attribute.KeyValue{attribute.String("onceql.link", "batch")}
)

// An execution implements idempotency.Execution.
type execution struct {
	engine
	span trace.Span
}

// Step implements idempotency.Execution.
func (x *execution) Step(ctx context.Context, step idempotency.Step) (context.Context, func(error)) {
	ctx, span := x.parts.Start(trace.ContextWithSpan(ctx, x.span), string(step))
	return ctx, func(err error) {
		fail(span, err)
		span.End()
	}
}

// End implements idempotency.Execution.
func (x *execution) End() { x.span.End() }

// fail marks the span of what failed. An error's text may quote a payload: its SQLSTATE
// and the kinds below are told, and no more.
func fail(span trace.Span, err error) {
	if err == nil {
		return
	}
	kind := "_OTHER"
	var pgErr *pgconn.PgError
	switch {
	case errors.As(err, &pgErr):
		kind = pgErr.Code
	case errors.Is(err, context.DeadlineExceeded):
		kind = "timeout"
	case errors.Is(err, context.Canceled):
		kind = "cancelled"
	case pgconn.SafeToRetry(err), errors.As(err, new(*pgconn.ConnectError)):
		kind = "connection"
	}
	span.SetAttributes(attribute.String("error.type", kind))
	span.SetStatus(codes.Error, "")
}
