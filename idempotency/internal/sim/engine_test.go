package sim_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/idempotency/internal/sim"
	"github.com/onceql/onceql/idempotency/internal/store"
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
	return newEngineOn(t, c, name, c.Pool(name))
}

func newEngineOn(t *testing.T, c *sim.Cluster, name string, pool *pgxpool.Config) *idempotency.Engine {
	t.Helper()
	pool.MaxConns = 10
	engine := idempotency.New(newPool(t, pool), idempotency.Config{Random: c.Stream(name + " engine"), PurgeEvery: -1})
	t.Cleanup(func() {
		if err := engine.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return engine
}

// The engine does the same in all ways in which pgx runs statements, but for that of
// simple queries with arguments in their text.
func TestEngine_CallsAndReplays(t *testing.T) {
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, sim.Config{Seed: 1, Synchronous: true})
				pool := c.Pool("server1")
				pool.ConnConfig.DefaultQueryExecMode = mode
				engine := newEngineOn(t, c, "server1", pool)
				if err := engine.Check(t.Context()); err != nil {
					t.Fatal(err)
				}
				batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), writeAll)
				for _, replayed := range []bool{false, true} {
					o, err := idempotency.Do(t.Context(), engine, call("single", "a"), write("single", 1))
					if err != nil || o.Replayed != replayed || o.Value != 1 {
						t.Errorf("single: %+v, %v", o, err)
					}
					var callers sync.WaitGroup
					for n := range int64(5) {
						callers.Go(func() {
							key := fmt.Sprint("batch ", n)
							if o, err := batch.Do(t.Context(), call(key, key), n); err != nil || o.Replayed != replayed {
								t.Errorf("batch: %+v, %v", o, err)
							}
						})
					}
					callers.Wait()
				}
				if keys, effects := c.Keys(), c.Effects(); len(keys) != 6 || len(effects) != 6 {
					t.Errorf("%d keys, %d effects, want 6 of each", len(keys), len(effects))
				}
			})
		})
	}
}

func TestEngine_LooksUpForgetsAndPurges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, sim.Config{Faults: []sim.Fault{
			{At: time.Minute, Do: sim.Shift, For: 24 * time.Hour}, {At: 2 * time.Minute, Do: sim.Shift, For: 48 * time.Hour},
		}})
		engine := newEngine(t, c, "server1")
		for _, key := range []string{"forgotten", "purged"} {
			if _, err := idempotency.Do(t.Context(), engine, call(key, "a"), write(key, 1)); err != nil {
				t.Fatal(err)
			}
		}
		info, there, err := engine.Lookup(t.Context(), "tenant", "purged")
		if err != nil || !there || info.Expired || info.ExpiresAt.Sub(info.ExecutedAt) != 24*time.Hour || info.RequestID != "request of a" {
			t.Errorf("looked up: %+v, %t, %v", info, there, err)
		}
		for _, want := range []bool{true, false} {
			if there, err := engine.Forget(t.Context(), "tenant", "forgotten"); err != nil || there != want {
				t.Errorf("forgotten: %t, %v; want %t", there, err, want)
			}
		}
		for _, want := range []struct {
			expired bool
			purged  int64
		}{{false, 0}, {true, 0}, {true, 1}} {
			info, there, err := engine.Lookup(t.Context(), "tenant", "purged")
			if err != nil || !there || info.Expired != want.expired {
				t.Errorf("looked up: %+v, %t, %v; want expired %t", info, there, err, want.expired)
			}
			if n, err := engine.Purge(t.Context()); err != nil || n != want.purged {
				t.Errorf("purged: %d, %v; want %d", n, err, want.purged)
			}
			time.Sleep(time.Minute)
		}
		if keys := c.Keys(); len(keys) != 0 {
			t.Errorf("%d keys are left", len(keys))
		}
	})
}

// A transaction of Forget, or of the purge, whose server vanishes without a word lets its
// lock go.
func TestEngine_LocksEndWithTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, sim.Config{Faults: []sim.Fault{
			{Step: "forget", Client: "server1", Count: 1, Do: sim.Drop}, {Step: "purge", Client: "server1", Count: 1, Do: sim.Drop},
		}})
		vanishing, other := newEngine(t, c, "server1"), newEngine(t, c, "server2")
		if _, err := idempotency.Do(t.Context(), other, call("k", "a"), write("k", 1)); err != nil {
			t.Fatal(err)
		}
		if _, err := vanishing.Forget(t.Context(), "tenant", "k"); !errors.Is(err, idempotency.ErrUnavailable) {
			t.Errorf("forgetting: %v", err)
		}
		if _, err := vanishing.Purge(t.Context()); !errors.Is(err, idempotency.ErrUnavailable) {
			t.Errorf("purging: %v", err)
		}
		time.Sleep(idempotency.DefaultBudget)
		if there, err := other.Forget(t.Context(), "tenant", "k"); err != nil || !there {
			t.Errorf("forgetting: %t, %v", there, err)
		}
		tx, err := newPool(t, c.Pool("other")).Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var free bool
		if err := tx.QueryRow(t.Context(), store.Texts(sim.Table)["purge lock"], store.PurgeLock, "1000").Scan(&free); err != nil || !free {
			t.Errorf("the purge's lock: free %t, %v", free, err)
		}
		_ = tx.Rollback(t.Context())
	})
}
