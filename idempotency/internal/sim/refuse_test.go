package sim_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/onceql/onceql/idempotency/internal/sim"
)

// What the cluster does not know it must not answer as if it did.
func TestCluster_RefusesWhatItDoesNotKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refused []string
		c := sim.New(sim.Config{Refused: func(sql string) { refused = append(refused, sql) }})
		defer c.Close()
		pool := newPool(t, c.Pool("a"))
		defer pool.Close()
		for _, sql := range []string{"select 2", "begin isolation level serializable", "delete from effects"} {
			_, err := pool.Exec(t.Context(), sql)
			if got := told(err); got != "42601" || refused[len(refused)-1] != sql {
				t.Errorf("%s: %v, %q", sql, err, refused)
			}
		}
		if _, err := c.Dialer("a")(t.Context(), "tcp", "db3:5432"); err == nil {
			t.Error("a host that is not there is dialled")
		}
	})
}

func TestCluster_PreparedStatements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(t, sim.Config{})
		p.run(step{"a", "select 1", nil, "1 | SELECT 1"})
		conn := p.sessions["a"].conn.PgConn()
		const sql = "select pg_is_in_recovery()"
		for _, test := range []struct{ name, want string }{{"s", ""}, {"s", "42P05"}, {"", ""}, {"", ""}} {
			_, err := conn.Prepare(t.Context(), test.name, sql, nil)
			if err == nil && test.want != "" || err != nil && told(err) != test.want {
				t.Errorf("preparing %q: %v, want %q", test.name, err, test.want)
			}
		}
		if err := conn.Deallocate(t.Context(), "s"); err != nil {
			t.Error(err)
		}
		if err := conn.ExecPrepared(t.Context(), "s", nil, nil, nil).Read().Err; told(err) != "26000" {
			t.Errorf("running what is not prepared: %v", err)
		}
	})
}

// In a pipeline an error passes over what follows, up to the next Sync.
func TestCluster_Pipelines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(t, sim.Config{})
		p.run(step{"a", "select 1", nil, "1 | SELECT 1"})
		conn := p.sessions["a"].conn.PgConn()
		var batch pgconn.Batch
		effect := sim.Statements["effect"]
		add := func(n string) {
			batch.ExecParams(effect, [][]byte{[]byte("t"), []byte("k"), []byte(n)}, nil, nil, nil)
		}
		add("1")
		add("-1")
		add("2")
		if _, err := conn.ExecBatch(t.Context(), &batch).ReadAll(); told(err) != "23514 effects_n_check" {
			t.Error(err)
		}
		p.run(step{"a", "effects of a key", named("k"), "0 | SELECT 1"})
		batch = pgconn.Batch{}
		add("1")
		add("2")
		if _, err := conn.ExecBatch(t.Context(), &batch).ReadAll(); err != nil {
			t.Error(err)
		}
		p.run(step{"a", "effects of a key", named("k"), "2 | SELECT 1"})
	})
}

// A context that ends closes the connection, and the statement ends with it.
func TestCluster_EndsWhatACallerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(t, sim.Config{})
		p.run(
			step{"a", begin, nil, "BEGIN"},
			step{"a", "count", []any{int64(1)}, "1 | UPDATE 1"},
		)
		pool := newPool(t, p.cluster.Pool("b"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		tx, err := pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), sim.Statements["count"], int64(2)); err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(ctx, sim.Statements["count"], int64(1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want that the deadline is exceeded", err)
		}
		_ = tx.Rollback(t.Context())
		p.run(step{"a", "count", []any{int64(2)}, "1 | UPDATE 1"})
		if n := p.cluster.Count("count", "b"); n != 2 {
			t.Errorf("b came to the step %d times, want 2", n)
		}
	})
}
