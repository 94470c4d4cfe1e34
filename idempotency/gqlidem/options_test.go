package gqlidem_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/idempotency/gqlidem"
	"github.com/onceql/onceql/internal/pgtest"
)

// An operation's own limits reach the engine, for single calls and for batches.
func TestOptions_AreTheOperations(t *testing.T) {
	t.Parallel()
	write := `mutation { write(text: "a", idempotencyKey: "k") { text } }`
	options := []idempotency.Option{idempotency.WithTTL(time.Hour), idempotency.WithRetention(2 * time.Hour)}
	for form, resolverOf := range map[string]func(*gqlidem.Once) func(context.Context) (any, error){
		"single": func(once *gqlidem.Once) func(context.Context) (any, error) {
			return func(ctx context.Context) (any, error) {
				return gqlidem.Do(ctx, once, func(context.Context, pgx.Tx) (*note, error) { return &note{"a"}, nil }, options...)
			}
		},
		"batched": func(once *gqlidem.Once) func(context.Context) (any, error) {
			batch := gqlidem.NewBatch(once, "write", idempotency.WithinScope(),
				func(_ context.Context, _ pgx.Tx, items []*idempotency.Item[string, *note]) error {
					for _, i := range items {
						i.Succeed(&note{i.Input})
					}
					return nil
				}, options...)
			return func(ctx context.Context) (any, error) { return batch.Do(ctx, "a") }
		},
	} {
		pool := pgtest.Pool(t)
		once := newOnce(t, pool)
		resolver := resolverOf(once)
		server := serve(noteSDL, once, resolvers{"write": resolver})
		if r := send(t, server, write); r.statuses()["write"] != "EXECUTED" {
			t.Fatalf("%s: %s", form, r.body)
		}
		var ttl, retention time.Duration
		if err := pool.QueryRow(t.Context(), `select expires_at - created_at, retained_until - created_at from idempotency_keys`).
			Scan(&ttl, &retention); err != nil || ttl != time.Hour || retention != 2*time.Hour {
			t.Errorf("%s: time to live %s, retention %s, %v", form, ttl, retention, err)
		}
	}
}
