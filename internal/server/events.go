package server

import (
	"context"
	"log/slog"

	"github.com/onceql/onceql/graph"
	"github.com/onceql/onceql/idempotency"
)

// LogEvents returns an observer that logs what an operator wants to know: keys and
// payloads are no part of it. What executed is in the database, under its request's
// id. An event whose level is not logged costs nothing.
func LogEvents(ctx context.Context, log *slog.Logger) func(idempotency.Event) {
	return func(event idempotency.Event) {
		level := levelOf(event.Kind)
		if !log.Enabled(ctx, level) {
			return
		}
		attributes := []any{"operation", event.Operation, "requestId", event.RequestID}
		switch event.Kind {
		case idempotency.Replayed:
			attributes = append(attributes, "executedBy", event.ExecutedBy)
		case idempotency.Retried, idempotency.CommitUnknown, idempotency.PurgeFailed:
			attributes = append(attributes, "err", graph.Describe(event.Err))
		case idempotency.Purged:
			attributes = []any{"count", event.Count}
		}
		log.Log(ctx, level, event.Kind.String(), attributes...)
	}
}

func levelOf(kind idempotency.EventKind) slog.Level {
	switch kind {
	case idempotency.Replayed, idempotency.Purged:
		return slog.LevelInfo
	case idempotency.Retried, idempotency.CommitUnknown, idempotency.PurgeFailed:
		return slog.LevelWarn
	}
	return slog.LevelDebug
}
