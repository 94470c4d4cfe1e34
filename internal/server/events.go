package server

import (
	"context"
	"log/slog"

	"github.com/onceql/onceql/graph"
	"github.com/onceql/onceql/idempotency"
)

// LogEvents returns an observer that logs what an operator wants to know: keys and
// payloads are no part of it. What executed is in the database, under its request's
// id.
func LogEvents(ctx context.Context, log *slog.Logger) func(idempotency.Event) {
	return func(event idempotency.Event) {
		level := slog.LevelDebug
		attributes := []any{"operation", event.Operation, "requestId", event.RequestID}
		switch event.Kind {
		case idempotency.Replayed:
			level = slog.LevelInfo
			attributes = append(attributes, "executedBy", event.ExecutedBy)
		case idempotency.Retried, idempotency.CommitUnknown, idempotency.PurgeFailed:
			level = slog.LevelWarn
			attributes = append(attributes, "err", graph.Describe(event.Err))
		case idempotency.Purged:
			level = slog.LevelInfo
			attributes = []any{"count", event.Count}
		}
		log.Log(ctx, level, event.Kind.String(), attributes...)
	}
}
