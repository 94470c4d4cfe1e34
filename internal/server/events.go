package server

import (
	"context"
	"log/slog"

	"github.com/onceql/onceql/graph"
	"github.com/onceql/onceql/idempotency"
)

// LogEvents returns an observer that logs what an operator wants to know of the engine:
// keys and payloads are no part of it. How calls end is told by telemetry.LogCalls. An
// event that is not logged costs nothing.
func LogEvents(ctx context.Context, log *slog.Logger) func(idempotency.Event) {
	return func(event idempotency.Event) {
		switch event.Kind {
		case idempotency.Purged:
			log.InfoContext(ctx, event.Kind.String(), "count", event.Count)
		case idempotency.PurgeFailed:
			log.WarnContext(ctx, event.Kind.String(), "err", graph.Describe(event.Err))
		case idempotency.Retried, idempotency.CommitUnknown:
			attributes := []any{"operation", event.Operation, "requestId", event.RequestID, "err", graph.Describe(event.Err)}
			if event.TraceID != "" {
				attributes = append(attributes, "traceId", event.TraceID)
			}
			log.WarnContext(ctx, event.Kind.String(), attributes...)
		}
	}
}
