package sim_test

import (
	"context"
	"os"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/idempotency/internal/sim"
)

func TestMain(m *testing.M) {
	sim.Alone()
	os.Exit(m.Run())
}

// newCluster is for a test in a bubble.
func newCluster(t *testing.T, config sim.Config) *sim.Cluster {
	t.Helper()
	config.Refused = func(sql string) { t.Errorf("unknown statement: %s", sql) }
	c := sim.New(config)
	t.Cleanup(func() {
		c.Close()
		if t.Failed() {
			for _, event := range c.History() {
				t.Log(event)
			}
		}
	})
	return c
}

func newPool(t *testing.T, config *pgxpool.Config) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}
