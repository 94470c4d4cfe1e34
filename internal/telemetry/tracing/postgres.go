package tracing

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// Postgres returns what records statements, for a pool's ConnConfig.Tracer, or nil while
// traces are off.
func (t *Tracing) Postgres() pgx.QueryTracer {
	if !t.On() {
		return nil
	}
	return postgres{t}
}

// A postgres records statements in spans that are recorded: their texts, with parameters
// and without values, and of errors the SQLSTATE alone, whose messages quote values.
// https://opentelemetry.io/docs/specs/semconv/database/postgresql/
type postgres struct{ *Tracing }

var (
	_ pgx.QueryTracer       = postgres{}
	_ pgx.BatchTracer       = postgres{}
	_ pgxpool.AcquireTracer = postgres{}
)

// maxText is how much of a statement's text is recorded, in bytes.
const maxText = 1000

// start begins the span of statements.
func (p postgres) start(ctx context.Context, name, text string, more ...attribute.KeyValue) context.Context {
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	ctx, _ = p.parts.Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(append(more,
		attribute.String("db.system.name", "postgresql"), attribute.String("db.query.text", text))...))
	return ctx
}

// end ends the span that start began.
func end(ctx context.Context, err error) {
	if span, recorded := recording(ctx); recorded {
		fail(span, err)
		span.End()
	}
}

// TraceQueryStart implements pgx.QueryTracer.
func (p postgres) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if _, recorded := recording(ctx); !recorded {
		return ctx
	}
	text := strings.TrimSpace(data.SQL)
	return p.start(ctx, operation(text), text)
}

// TraceQueryEnd implements pgx.QueryTracer.
func (postgres) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	end(ctx, data.Err)
}

// TraceBatchStart implements pgx.BatchTracer.
func (p postgres) TraceBatchStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	if _, recorded := recording(ctx); !recorded {
		return ctx
	}
	texts := make([]string, len(data.Batch.QueuedQueries))
	for i, query := range data.Batch.QueuedQueries {
		texts[i] = strings.TrimSpace(query.SQL)
	}
	return p.start(ctx, "BATCH", strings.Join(texts, ";\n"), attribute.Int("db.operation.batch.size", len(texts)))
}

// TraceBatchQuery implements pgx.BatchTracer.
func (postgres) TraceBatchQuery(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchQueryData) {
	if data.Err == nil {
		return
	}
	if span, recorded := recording(ctx); recorded {
		fail(span, data.Err)
	}
}

// TraceBatchEnd implements pgx.BatchTracer.
func (postgres) TraceBatchEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchEndData) {
	end(ctx, data.Err)
}

// operation is the statement's first word, by which spans are found.
func operation(text string) string {
	word, _, _ := strings.Cut(text, " ")
	word, _, _ = strings.Cut(word, "\n")
	return strings.ToUpper(word)
}

// acquiredKey is where a context has since when a connection is waited for.
type acquiredKey struct{}

// worthTelling is how long a wait for a connection is at least that is recorded: mostly
// one is there.
const worthTelling = time.Millisecond

// TraceAcquireStart implements pgxpool.AcquireTracer.
func (postgres) TraceAcquireStart(ctx context.Context, _ *pgxpool.Pool, _ pgxpool.TraceAcquireStartData) context.Context {
	if _, recorded := recording(ctx); !recorded {
		return ctx
	}
	return context.WithValue(ctx, acquiredKey{}, time.Now())
}

// TraceAcquireEnd implements pgxpool.AcquireTracer.
func (p postgres) TraceAcquireEnd(ctx context.Context, _ *pgxpool.Pool, data pgxpool.TraceAcquireEndData) {
	since, recorded := ctx.Value(acquiredKey{}).(time.Time)
	if !recorded || time.Since(since) < worthTelling && data.Err == nil {
		return
	}
	_, span := p.parts.Start(ctx, "wait for a connection", trace.WithTimestamp(since))
	fail(span, data.Err)
	span.End()
}
