package telemetry

import (
	"context"
	"log/slog"
	"time"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/internal/requestid"
)

// LogCalls returns what logs a line for each keyed call that ends. The key stands in it as
// its hash, by which `onceql key show` and the others find one another's lines.
func LogCalls(log *slog.Logger) Ended {
	return func(ctx context.Context, call Call) {
		if !log.Enabled(ctx, slog.LevelInfo) {
			return
		}
		attributes := make([]slog.Attr, 0, 8)
		attributes = append(attributes,
			slog.String("operation", call.Operation),
			slog.String("outcome", call.Outcome.String()),
			slog.String("tenant", Tenant(call.Tenant)),
			slog.String("keyHash", idempotency.KeyHash(call.Tenant, call.Key)),
			slog.Duration("duration", call.Duration.Round(time.Microsecond)),
			slog.String("requestId", requestid.From(ctx)),
		)
		if call.Outcome == CallReplayed {
			attributes = append(attributes, slog.String("executedBy", call.ExecutedBy))
			if call.ExecutedTrace != "" {
				attributes = append(attributes, slog.String("executedByTrace", call.ExecutedTrace))
			}
		}
		log.LogAttrs(ctx, slog.LevelInfo, "call ended", attributes...)
	}
}

// Together returns what tells each of them.
func Together(all ...Ended) Ended {
	return func(ctx context.Context, call Call) {
		for _, ended := range all {
			ended(ctx, call)
		}
	}
}
