package idempotency_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

// A tenant whose calls are slow does not hold all batches, where batches are over all
// scopes: another one's call gets through while they run.
func TestShare_OfATenantIsNotAllBatchesAcrossScopes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engineOn(f.open(f.url, 16), idempotency.Config{Workers: 4, Batches: 3, Wait: 10 * time.Second, Budget: time.Minute})
	open := make(chan struct{})
	release := sync.OnceFunc(func() { close(open) })
	defer release()
	batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), func(ctx context.Context, tx pgx.Tx, group []*noteItem) error {
		for _, p := range group {
			if p.Scope == "slow" {
				select {
				case <-open:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		return writes(ctx, tx, group)
	}, idempotency.WithMaxBatch(3), idempotency.WithWait(20*time.Second))
	const slow = 40
	var callers sync.WaitGroup
	defer callers.Wait()
	for i := range slow {
		callers.Go(func() { _, _ = batch.Do(t.Context(), inScope("slow", fmt.Sprint(i), "a"), "a") })
	}
	eventually(t, "all slow calls wait", func() bool { return engine.Stats().Waiting == slow })
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for i := range 3 {
		if _, err := batch.Do(ctx, inScope(fmt.Sprint("quick ", i), "k", "a"), "a"); err != nil {
			t.Errorf("another tenant's call: %v", err)
		}
	}
	release()
}
