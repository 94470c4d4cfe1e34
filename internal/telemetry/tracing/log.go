package tracing

import (
	"context"
	"log/slog"

	"github.com/onceql/onceql/internal/requestid"
)

// InContext returns a handler whose lines have the requestId and the traceId of the
// context that they are logged with, where it has some and they say none themselves.
func InContext(next slog.Handler) slog.Handler { return inContext{next} }

type inContext struct{ slog.Handler }

// Handle implements slog.Handler.
func (h inContext) Handle(ctx context.Context, record slog.Record) error {
	requestID := requestid.From(ctx)
	traceID, _ := IDs(ctx)
	if requestID == "" && traceID == "" {
		return h.Handler.Handle(ctx, record)
	}
	record.Attrs(func(said slog.Attr) bool {
		switch said.Key {
		case "requestId":
			requestID = ""
		case "traceId":
			traceID = ""
		}
		return true
	})
	record = record.Clone()
	if requestID != "" {
		record.AddAttrs(slog.String("requestId", requestID))
	}
	if traceID != "" {
		record.AddAttrs(slog.String("traceId", traceID))
	}
	return h.Handler.Handle(ctx, record)
}

// WithAttrs implements slog.Handler.
func (h inContext) WithAttrs(attributes []slog.Attr) slog.Handler {
	return inContext{h.Handler.WithAttrs(attributes)}
}

// WithGroup implements slog.Handler.
func (h inContext) WithGroup(name string) slog.Handler { return inContext{h.Handler.WithGroup(name)} }
