package db_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/onceql/onceql/db"
	"github.com/onceql/onceql/internal/pgtest"
)

// checkAll has the cluster ask every server anew, on new connections, and waits for all of
// their answers. A check ends with the primary's.
func checkAll(t testing.TB, cluster *db.Cluster) error {
	t.Helper()
	cluster.Close(t.Context())
	err := cluster.Check(t.Context())
	cluster.Close(t.Context())
	return err
}

// exec runs statements as an operator does.
func exec(t testing.TB, address string, statements ...string) {
	t.Helper()
	conn := connect(t, address)
	for _, sql := range statements {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	_ = conn.Close(context.WithoutCancel(t.Context()))
}

const (
	noConnections  = `alter role onceql_tests connection limit 0`
	anyConnections = `alter role onceql_tests connection limit -1`
)

// Two ways lead to one primary, as two poolers do, and one of them fails. Where it refuses
// connections, those that it has may be good. Where it is silent they are not.
func TestCluster_LeavesOneWayForAnother(t *testing.T) {
	t.Parallel()
	for what, test := range map[string]struct {
		fail func(*way)
		ends bool
	}{
		"refuses":   {fail: (*way).refuse},
		"is silent": {fail: (*way).silenceAll, ends: true},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			address := pgtest.URL(t)
			first, second := forward(t, hostOf(t, address)), forward(t, hostOf(t, address))
			cluster := newCluster(t, through(t, pgtest.AsRole(t, address), first, second))
			wantChecked(t, cluster)
			pool := poolOf(t, cluster)
			wantPort(t, pool, through(t, address, first))

			// It runs for as long as the lock is held.
			conn := connect(t, address)
			if _, err := conn.Exec(t.Context(), `select pg_advisory_lock(1)`); err != nil {
				t.Fatal(err)
			}
			running := make(chan error, 1)
			go func() {
				_, err := pool.Exec(t.Context(), `select pg_advisory_lock(1)`)
				running <- err
			}()
			eventually(t, "the statement to run", func() bool { return pool.Stat().AcquiredConns() == 1 })
			test.fail(first)
			if err := checkAll(t, cluster); err != nil {
				t.Errorf("with one way of two: %v", err)
			}
			if test.ends {
				select {
				case err := <-running:
					if err == nil {
						t.Error("a statement ended well on a way that is silent")
					}
				case <-time.After(time.Minute):
					t.Error("a statement waits on a way that is silent")
				}
			}
			wantPort(t, pool, through(t, address, second))
			if _, err := conn.Exec(t.Context(), `select pg_advisory_unlock(1)`); err != nil {
				t.Fatal(err)
			}
			if !test.ends {
				if err := <-running; err != nil {
					t.Errorf("a statement that ran while the primary stayed: %v", err)
				}
			}
		})
	}
}

// A server that has no connection to spare does not say what it is: what it said before
// holds, and it was no primary then.
func TestCluster_DoesNotGoBackToAnOldPrimaryThatIsFull(t *testing.T) {
	t.Parallel()
	old := pgtest.NewServer(t)
	next := old.Follower(t)
	cluster := newCluster(t, both(t, old.URL(), next.URL()))
	wantChecked(t, cluster)
	pool := poolOf(t, cluster)
	stop := watch(t, cluster)
	next.Promote(t)
	eventually(t, "the pool to lead to the new primary", func() bool {
		port, err := portOf(t, pool)
		return err == nil && strings.HasSuffix(hostOf(t, next.URL()), ":"+port)
	})
	stop()
	exec(t, old.URL(), noConnections)
	for range 2 {
		if err := checkAll(t, cluster); err != nil {
			t.Errorf("with the new primary: %v", err)
		}
		wantPort(t, pool, next.URL())
	}
	next.Stop(t)
	if err := checkAll(t, cluster); err == nil {
		t.Error("the old primary counts as this database")
	}
}

// A primary that has no connection to spare stays the primary, until another is promoted.
func TestCluster_LeavesAPrimaryThatIsFullAtAPromotion(t *testing.T) {
	t.Parallel()
	primary := pgtest.NewServer(t)
	standby := primary.Follower(t)
	cluster := newCluster(t, both(t, primary.URL(), standby.URL()))
	wantChecked(t, cluster)
	pool := poolOf(t, cluster)
	wantPort(t, pool, primary.URL())
	exec(t, primary.URL(), noConnections)
	for range 2 {
		if err := checkAll(t, cluster); err != nil {
			t.Errorf("with a primary that is busy: %v", err)
		}
	}
	wantPort(t, pool, primary.URL())
	standby.Promote(t)
	exec(t, standby.URL(), anyConnections)
	eventually(t, "the pool to lead to the new primary", func() bool {
		_ = cluster.Check(t.Context())
		port, err := portOf(t, pool)
		return err == nil && strings.HasSuffix(hostOf(t, standby.URL()), ":"+port)
	})
}

// Of a server that has no connection to spare nobody knows whether it takes writes.
func TestCluster_ElectsNoServerThatIsFull(t *testing.T) {
	t.Parallel()
	full, primary := pgtest.NewServer(t), pgtest.NewServer(t)
	pgtest.AsRole(t, primary.URL())
	cluster := newCluster(t, both(t, full.URL(), primary.URL()))
	exec(t, full.URL(), noConnections)
	if err := checkAll(t, cluster); err != nil {
		t.Errorf("a server that is busy, and one that takes writes: %v", err)
	}
	wantPort(t, poolOf(t, cluster), primary.URL())
	// Once the primary is away, so is the database: the other one is not it.
	primary.Stop(t)
	if err := checkAll(t, cluster); err == nil {
		t.Error("a server that is busy counts as the primary that is away")
	}
}
