package db_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/onceql/onceql/internal/pgtest"
)

// An idle connection that the network forgot costs a caller a moment, not its budget.
func TestOpen_LeavesAConnectionThatFellSilent(t *testing.T) {
	t.Parallel()
	address := pgtest.URL(t)
	way := forward(t, hostOf(t, address))
	pool := open(t, through(t, address, way), 2, slog.New(slog.DiscardHandler))
	if err := pool.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	way.silence()
	time.Sleep(1100 * time.Millisecond) // pgx trusts what was used within the last second.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := pool.Ping(ctx); err != nil {
		t.Error(err)
	}
}
