package idempotency_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

// counted counts how often the effect runs.
func counted(runs *atomic.Int32, effect effect) effect {
	return func(ctx context.Context, tx pgx.Tx) (note, error) {
		runs.Add(1)
		return effect(ctx, tx)
	}
}

// The connection breaks at each round trip of an execution in turn, those that
// prepare statements and the effect's own included: the caller hears that it
// executed, and a retry over another connection is a replay of the same.
func TestTrip_LostAnywhereIsResolved(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]fault{
		"the request": tripLost, "the reply": tripReplyLost, "the end of the reply": tripEndLost,
	} {
		for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
			t.Run(name+", "+mode, func(t *testing.T) {
				t.Parallel()
				f := newFixture(t)
				proxy, url := newProxy(t, f.url)
				direct := f.engine(idempotency.Config{})
				trips, calls := 0, 0
				for armed := false; !armed; trips++ {
					// A new pool, so that each call takes the same trips.
					engine := f.engineOn(f.open(url+"&default_query_exec_mode="+mode, 4), idempotency.Config{})
					met := proxy.armTrip(fault, trips)
					key := fmt.Sprint(trips)
					first, err := do(t.Context(), engine, key, "a")
					if err != nil || first.Replayed {
						t.Errorf("trip %d: %+v, %v; want it executed", trips, first, err)
					}
					if armed = proxy.disarm(); !armed {
						<-met
					}
					calls++
					if o := mustDo(t, direct, key, "a"); !o.Replayed || o.Value != first.Value {
						t.Errorf("trip %d: the retry: %+v, want a replay of %+v", trips, o, first)
					}
				}
				if trips < 4 {
					t.Errorf("%d trips were seen, want those of the look-up, the effect and the commit", trips-1)
				}
				f.effects(calls)
			})
		}
	}
}

// No COMMIT ever reaches Postgres: the leader hears that the outcome is unknown,
// the next caller takes over, and once the network is well the key goes through.
func TestCommit_ThatIsLostAgainAndAgainHandsOver(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]fault{
		"Postgres lets the locks go": requestLost, "Postgres keeps the locks for a moment": requestLostUnnoticed,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			proxy, url := newProxy(t, f.url)
			engine := f.engineOn(f.open(url, 4), idempotency.Config{Wait: time.Minute, Budget: 30 * time.Second})
			var runs atomic.Int32
			gate := newGate()
			leader := start(t.Context(), engine, call("k", "a"), gate.before(counted(&runs, func(ctx context.Context, tx pgx.Tx) (note, error) {
				proxy.arm(fault)
				return write("leader")(ctx, tx)
			})))
			gate.arrived(t)
			next := start(t.Context(), engine, from("the next", call("k", "b")), write("b"))
			waiting(t, engine, "k", 2)
			close(gate.open)

			_, err := replied(t, leader)
			wantError(t, err, idempotency.ErrUnavailable)
			if n := runs.Load(); n != maxAttempts {
				t.Errorf("the leader's effect ran %d times, want %d", n, maxAttempts)
			}
			// The last fault met the leader's last COMMIT; the next caller's goes through.
			o, err := replied(t, next)
			if err != nil || o.Replayed || o.Value.Text != "b" {
				t.Errorf("the next caller: %+v, %v; want it executed", o, err)
			}
			_, err = do(t.Context(), engine, "k", "a")
			wantError(t, err, idempotency.ErrKeyReused)
			f.effects(1)
		})
	}
}
