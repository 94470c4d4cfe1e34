package fidelity_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/idempotency/internal/sim"
)

// A simulation is the simulated server.
type simulation struct{ cluster *sim.Cluster }

// simulate runs a history on a simulated server.
func simulate(t *testing.T, seed uint64, config sim.Config) (lines []string) {
	t.Helper()
	config.Delay, config.DeadlockTimeout = 1, short/5
	synctest.Test(t, func(t *testing.T) {
		config.Refused = func(sql string) { t.Errorf("unknown statement: %s", sql) }
		c := sim.New(config)
		defer c.Close()
		lines = record(t, seed, simulation{c})
	})
	return lines
}

func (s simulation) config(_ testing.TB, session string) *pgxpool.Config {
	return s.cluster.Pool(session)
}

func (simulation) settle(testing.TB, []*session) {
	// Longer than it takes to answer, to give a lock up, and to find a deadlock.
	time.Sleep(2 * short)
	synctest.Wait()
}
