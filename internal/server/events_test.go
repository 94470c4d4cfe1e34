package server_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/internal/server"
)

// eventsLogged returns what is logged of the events from the level on.
func eventsLogged(ctx context.Context, level slog.Level, events ...idempotency.Event) string {
	var log bytes.Buffer
	observe := server.LogEvents(ctx, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(_ []string, attribute slog.Attr) slog.Attr {
			if attribute.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return attribute
		},
	})))
	for _, event := range events {
		observe(event)
	}
	return log.String()
}

func TestLogEvents_LogsWhatNoCallTells(t *testing.T) {
	t.Parallel()
	failed := errors.New("connection lost")
	events := []idempotency.Event{
		{Kind: idempotency.Executed, Operation: "createProject", RequestID: "r1", ExecutedBy: "r1"},
		{Kind: idempotency.Replayed, Operation: "createProject", RequestID: "r2", ExecutedBy: "r1"},
		{Kind: idempotency.Refused, Operation: "createProject", RequestID: "r3", Err: failed},
		{Kind: idempotency.Failed, Operation: "createProject", RequestID: "r4", Err: failed},
		{Kind: idempotency.Retried, Operation: "createProject", RequestID: "r5", Err: failed},
		{Kind: idempotency.CommitUnknown, Operation: "createProject", RequestID: "r6", TraceID: "t6", Err: failed},
		{Kind: idempotency.Purged, Count: 7},
		{Kind: idempotency.PurgeFailed, Err: failed},
	}
	const (
		warnings = `level=WARN msg=retried operation=createProject requestId=r5 err="connection lost"
level=WARN msg="commit unknown" operation=createProject requestId=r6 err="connection lost" traceId=t6
`
		purgeFailed = `level=WARN msg="purge failed" err="connection lost"
`
		purged = `level=INFO msg=purged count=7
`
	)
	for level, want := range map[slog.Level]string{
		slog.LevelError: "",
		slog.LevelWarn:  warnings + purgeFailed,
		slog.LevelInfo:  warnings + purged + purgeFailed,
		slog.LevelDebug: warnings + purged + purgeFailed,
	} {
		if diff := cmp.Diff(want, eventsLogged(t.Context(), level, events...)); diff != "" {
			t.Errorf("from %v on (-want +got):\n%s", level, diff)
		}
	}
}

// It is not parallel: the allocations of other tests would count.
func TestLogEvents_CostsNothingForACallThatEnds(t *testing.T) {
	observe := server.LogEvents(t.Context(), slog.New(slog.NewTextHandler(new(bytes.Buffer), nil)))
	event := idempotency.Event{Kind: idempotency.Executed, Operation: "createProject", RequestID: "r1", ExecutedBy: "r1"}
	if allocations := testing.AllocsPerRun(100, func() { observe(event) }); allocations > 0 {
		t.Errorf("an event that is not logged makes %v allocations", allocations)
	}
}
