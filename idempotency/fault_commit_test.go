package idempotency_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

// Whatever becomes of a COMMIT and of its reply, the caller that executed hears
// that it did, its equals hear that it did not, and there is one effect.
func TestCommit_ThatIsLostIsResolved(t *testing.T) {
	t.Parallel()
	for name, fault := range faults {
		for _, mode := range []string{"cache_statement", "exec"} {
			t.Run(name+", "+mode, func(t *testing.T) {
				t.Parallel()
				f := newFixture(t)
				proxy, url := newProxy(t, f.url)
				events := make(chan idempotency.Event, 1000)
				engine := f.engineOn(f.open(url+"&default_query_exec_mode="+mode, 4), idempotency.Config{
					Observer: func(event idempotency.Event) { events <- event },
				})
				mustDo(t, engine, "before", "a")

				gate := newGate()
				leader := start(t.Context(), engine, call("k", "a"), gate.before(write("a")))
				<-gate.entered
				equal := start(t.Context(), engine, call("k", "a"), write("a"))
				other := start(t.Context(), engine, call("k", "b"), write("b"))
				waiting(t, engine, "k", 3)
				met := proxy.arm(fault)
				close(gate.open)

				first := <-leader
				<-met
				if first.err != nil || first.outcome.Replayed || first.outcome.Value.Text != "a" {
					t.Errorf("the leader: %+v", first)
				}
				if r := <-equal; r.err != nil || !r.outcome.Replayed || r.outcome.Value != first.outcome.Value {
					t.Errorf("its equal: %+v", r)
				}
				wantError(t, (<-other).err, idempotency.ErrKeyReused)
				if o := mustDo(t, engine, "k", "a"); !o.Replayed || o.Value != first.outcome.Value {
					t.Errorf("a retry: %+v", o)
				}
				f.effects(2)
				for unknown := false; !unknown; {
					select {
					case event := <-events:
						unknown = event.Kind == idempotency.CommitUnknown
					default:
						t.Fatal("nothing was observed of an unknown commit")
					}
				}
			})
		}
	}
}

// A COMMIT that Postgres itself refuses once more, for a reason that does not go away,
// is not tried again and again: the call and its equals hear the reason.
func TestCommit_ThatPostgresRefusesTwiceIsRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`
		create table parents (id int primary key);
		create table children (parent int references parents deferrable);
		create function orphan() returns trigger language plpgsql as $$ begin
			set constraints all deferred;
			insert into children values (1);
			return null;
		end $$;
		create trigger orphans after insert on idempotency_keys for each row execute function orphan()`)
	engine := f.engine(idempotency.Config{Wait: testTimeout})
	gate := newGate()
	var runs atomic.Int32
	leader := start(t.Context(), engine, call("k", "a"), gate.before(counted(&runs, write("a"))))
	gate.arrived(t)
	equal := start(t.Context(), engine, call("k", "a"), never(t))
	waiting(t, engine, "k", 2)
	close(gate.open)
	for _, replies := range []<-chan reply{leader, equal} {
		if o, err := replied(t, replies); !own("23503")(err) {
			t.Errorf("%+v, %v; want the constraint's error", o, err)
		}
	}
	if n := runs.Load(); n != 2 {
		t.Errorf("the effect ran %d times, want 2", n)
	}
	f.effects(0)
}

// The leader's caller leaves while the outcome is unknown: the work is resolved all
// the same, and a later call replays it.
func TestCommit_IsResolvedAfterTheCallerLeft(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	proxy, url := newProxy(t, f.url)
	engine := f.engineOn(f.open(url, 4), idempotency.Config{})
	gate := newGate()
	ctx, leave := context.WithCancel(t.Context())
	leader := start(ctx, engine, call("k", "a"), gate.before(write("a")))
	<-gate.entered
	met := proxy.arm(replyLost)
	leave()
	wantError(t, (<-leader).err, idempotency.ErrInProgress)
	close(gate.open)
	<-met
	if o := mustDo(t, engine, "k", "a"); !o.Replayed {
		t.Errorf("the call after it: %+v", o)
	}
	f.effects(1)
}

// A server whose clock is set forward, or that is stopped for a while, ends sessions that
// wait for their next statement. That is no fault of the call's, however often it happens.
func TestCommit_AfterTheSessionWasTooIdleIsTriedAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{})
	tries := 0
	o, err := run(t.Context(), engine, call("k", "a"), func(ctx context.Context, tx pgx.Tx) (note, error) {
		tries++
		written, err := write("a")(ctx, tx)
		if err != nil || tries > 2 {
			return written, err
		}
		if _, err := tx.Exec(ctx, `set local idle_in_transaction_session_timeout = '1ms'`); err != nil {
			return written, err
		}
		return written, f.gone(ctx, tx.Conn().PgConn().PID())
	})
	if err != nil || o.Replayed {
		t.Errorf("%+v, %v, want an execution", o, err)
	}
	f.effects(1)
}
