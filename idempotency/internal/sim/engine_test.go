package sim_test

import (
	"context"
	"crypto/sha256"
	"testing"
	"testing/synctest"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/idempotency/internal/sim"
)

func call(key, payload string) idempotency.Call {
	return idempotency.Call{
		Scope: "tenant", Key: key, Operation: "write", RequestID: "request of " + payload,
		Fingerprint: func(version int16) ([32]byte, bool) { return sha256.Sum256([]byte(payload)), version == 1 },
	}
}

// write is the plain effect.
func write(key string, n int64) func(context.Context, pgx.Tx) (int64, error) {
	return func(ctx context.Context, tx pgx.Tx) (id int64, err error) {
		err = tx.QueryRow(ctx, sim.Statements["effect"], "tenant", key, n).Scan(&id)
		return id, err
	}
}

type item = idempotency.Item[int64, int64]

// writeAll is the plain effect of a batch.
func writeAll(ctx context.Context, tx pgx.Tx, items []*item) error {
	var scopes, keys []string
	var ns []int64
	byKey := map[string]*item{}
	for _, i := range items {
		scopes, keys, ns = append(scopes, i.Scope), append(keys, i.Key), append(ns, i.Input)
		byKey[i.Scope+" "+i.Key] = i
	}
	rows, err := tx.Query(ctx, sim.Statements["effects"], scopes, keys, ns)
	if err != nil {
		return err
	}
	var scope, key string
	var id int64
	_, err = pgx.ForEachRow(rows, []any{&scope, &key, &id}, func() error {
		byKey[scope+" "+key].Succeed(id)
		return nil
	})
	return err
}

func newEngine(t *testing.T, c *sim.Cluster, name string) *idempotency.Engine {
	t.Helper()
	pool := c.Pool(name)
	pool.MaxConns = 10
	engine := idempotency.New(newPool(t, pool), idempotency.Config{Random: c.Stream(name + " engine"), PurgeEvery: -1})
	t.Cleanup(func() {
		if err := engine.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return engine
}

func TestEngine_CallsAndReplays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, sim.Config{Seed: 1, Synchronous: true})
		engine := newEngine(t, c, "server1")
		if err := engine.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), writeAll)
		for _, replayed := range []bool{false, true} {
			o, err := idempotency.Do(t.Context(), engine, call("single", "a"), write("single", 1))
			if err != nil || o.Replayed != replayed || o.Value != 1 {
				t.Errorf("single: %+v, %v", o, err)
			}
			o, err = batch.Do(t.Context(), call("batch", "b"), 2)
			if err != nil || o.Replayed != replayed || o.Value != 2 {
				t.Errorf("batch: %+v, %v", o, err)
			}
		}
		if keys, effects := c.Keys(), c.Effects(); len(keys) != 2 || len(effects) != 2 {
			t.Errorf("%d keys, %d effects, want 2 and 2", len(keys), len(effects))
		}
	})
}
