// Package sim is a PostgreSQL for tests under testing/synctest: a primary and a standby,
// in memory, which speak the protocol to a real pgx and can fail at every step.
//
//	synctest.Test(t, func(t *testing.T) {
//		cluster := sim.New(sim.Config{Seed: 1, Faults: []sim.Fault{
//			{Step: sim.StepAnswered, Client: "server1", Count: 1, Do: sim.Silence}, // The first COMMIT's answer is lost.
//		}})
//		defer cluster.Close()
//		pool, err := pgxpool.NewWithConfig(ctx, cluster.Pool("server1"))
//		…
//		engine := idempotency.New(pool, idempotency.Config{Random: cluster.Stream("server1")})
//		…
//		cluster.Keys(), cluster.Effects() // What stands.
//	})
//
// It has no SQL. It knows the statements of package store and those of Statements by their
// text, and what it does not know fails the test. What it models: READ COMMITTED, where each
// statement sees what is visible as it begins; unique checks that wait for a transaction in
// flight; advisory locks of transactions; row locks, time-outs, deadlocks; savepoints;
// deferred constraints; transactions that have failed; a standby that one can read; now();
// and of a commit the order flush, standby, visible, locks released, answer. It does not
// model plans, policies, sequences that skip, nor locks of sessions.
//
// The same seed, and the same faults, give the same history, byte for byte, where nothing
// else is left to chance. The cluster's part is that no two of its messages and timers fall
// on one instant; so it decides nothing in which order the runtime lets goroutines run. A
// test's part is to draw from a Stream for each client, to end each pause at an Instant, and
// to pause before it notes something or calls again. Then histories are the same under the
// race detector too, which draws the order of goroutines. Alone leaves less to that care.
package sim
