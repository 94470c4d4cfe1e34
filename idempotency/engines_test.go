package idempotency_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/idempotency"
)

// A process is an engine with the pool that it alone uses.
type process struct {
	pool   *pgxpool.Pool
	engine *idempotency.Engine
}

func (f *fixture) process() process {
	f.t.Helper()
	pool := f.open(f.url, 8)
	return process{pool, f.engineOn(pool, idempotency.Config{})}
}

// polls returns once the engine has looked a few times more. It looks at
// nothing else, so that each connection taken is a look.
func (p process) polls(t testing.TB) {
	t.Helper()
	before := p.pool.Stat().AcquireCount()
	eventually(t, "the other engine looks again", func() bool { return p.pool.Stat().AcquireCount() >= before+3 })
}

func TestEngines_LoserPollsAndThenReplays(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a, b := f.process(), f.process()
	gate := newGate()
	leader := start(t.Context(), a.engine, from("the leader", call("k", "a")), gate.before(write("a")))
	gate.arrived(t)
	equals := []<-chan reply{
		start(t.Context(), b.engine, call("k", "a"), never(t)),
		start(t.Context(), b.engine, call("k", "a"), never(t)),
	}
	other := start(t.Context(), b.engine, call("k", "b"), never(t))
	waiting(t, b.engine, "k", 3)
	b.polls(t)
	for _, replies := range append(equals, other) {
		silent(t, replies)
	}
	close(gate.open)

	first, err := replied(t, leader)
	if err != nil || first.Replayed {
		t.Errorf("the leader: %+v, %v; want it executed", first, err)
	}
	for _, replies := range equals {
		if o, err := replied(t, replies); err != nil || !o.Replayed || o.RequestID != "the leader" || o.Value != first.Value {
			t.Errorf("an equal call: %+v, %v; want a replay of %+v", o, err, first)
		}
	}
	_, err = replied(t, other)
	wantError(t, err, idempotency.ErrKeyReused)
	f.effects(1)
}

func TestEngines_LoserExecutesWhenTheFirstRollsBack(t *testing.T) {
	t.Parallel()
	for name, second := range map[string]idempotency.Call{
		"the same payload":  call("k", "a"),
		"another payload":   call("k", "b"),
		"another operation": operation("erase", call("k", "a")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			a, b := f.process(), f.process()
			gate := newGate()
			refusal := errors.New("declined")
			leader := start(t.Context(), a.engine, call("k", "a"), gate.before(fails(refusal)))
			gate.arrived(t)
			loser := start(t.Context(), b.engine, second, write("loser"))
			waiting(t, b.engine, "k", 1)
			b.polls(t)
			close(gate.open)

			_, err := replied(t, leader)
			wantError(t, err, refusal)
			if o, err := replied(t, loser); err != nil || o.Replayed {
				t.Errorf("the loser: %+v, %v; want it executed", o, err)
			}
			f.effects(1)
		})
	}
}

// The leader's server process dies while its effect is busy elsewhere. Its lock
// dies with it, the other engine takes over, and the leader, once its effect is
// back, finds what the other one did.
func TestEngines_LoserTakesOverWhenTheLeadersConnectionDies(t *testing.T) {
	t.Parallel()
	for name, second := range map[string]struct {
		text       string
		leaderGets error
	}{
		"the same payload": {"a", nil},
		"another payload":  {"b", idempotency.ErrKeyReused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			a, b := f.process(), f.process()
			die, back := newGate(), newGate()
			leader := start(t.Context(), a.engine, call("k", "a"), die.before(func(ctx context.Context, tx pgx.Tx) (note, error) {
				if _, err := write("lost")(ctx, tx); err != nil {
					return note{}, err
				}
				if err := f.terminated(ctx, tx); err != nil {
					t.Error(err)
				}
				return back.before(write("lost"))(ctx, tx)
			}))
			die.arrived(t)
			loser := start(t.Context(), b.engine, from("the loser", call("k", second.text)), write(second.text))
			waiting(t, b.engine, "k", 1)
			b.polls(t)
			close(die.open)
			back.arrived(t)

			o, err := replied(t, loser)
			if err != nil || o.Replayed || o.Value.Text != second.text {
				t.Errorf("the loser: %+v, %v; want it executed", o, err)
			}
			silent(t, leader)
			close(back.open)
			late, err := replied(t, leader)
			wantError(t, err, second.leaderGets)
			if err == nil && (!late.Replayed || late.RequestID != "the loser" || late.Value != o.Value) {
				t.Errorf("the leader: %+v, want a replay of %+v", late, o)
			}
			f.effects(1)
		})
	}
}

// insertRival commits, on a connection of its own, an effect and the row that
// the engine would write for the call.
func (f *fixture) insertRival(ctx context.Context, call idempotency.Call) error {
	hash, _ := call.Fingerprint(1)
	_, err := f.pool.Exec(ctx, `
		with rival as (insert into notes (text) values ('rival') returning id)
		insert into idempotency_keys (scope, key, operation, request_hash, hash_version, response_json,
			request_id, execution_id, created_at, expires_at)
		select $1, $2, $3, $4, 1, json_build_object('id', id, 'text', 'rival'),
			'the rival', gen_random_uuid(), now(), now() + interval '1 day'
		from rival`, call.Scope, call.Key, call.Operation, hash[:])
	return err
}

// The row appears in the middle of the effect, whatever the lock said.
func TestEngines_LostRaceIsRolledBack(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		rival idempotency.Call
		want  error
	}{
		"the same payload":  {call("k", "a"), nil},
		"another payload":   {call("k", "b"), idempotency.ErrKeyReused},
		"another operation": {operation("erase", call("k", "a")), idempotency.ErrKeyReused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			engine := f.engine(idempotency.Config{})
			attempts := 0
			o, err := run(t.Context(), engine, call("k", "a"), func(ctx context.Context, tx pgx.Tx) (note, error) {
				attempts++
				if err := f.insertRival(ctx, test.rival); err != nil {
					t.Error(err)
				}
				return write("a")(ctx, tx)
			})
			wantError(t, err, test.want)
			if err == nil && (!o.Replayed || o.RequestID != "the rival" || o.Value.Text != "rival") {
				t.Errorf("outcome %+v, want a replay of the rival's", o)
			}
			if attempts != 1 {
				t.Errorf("the effect ran %d times, want once", attempts)
			}
			f.effects(1)
		})
	}
}

// Some engines that speak Postgres's protocol have advisory locks that do
// nothing. Then the primary key alone keeps every effect single.
func TestEngines_StayCorrectWhenLocksDoNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`create function public.pg_try_advisory_xact_lock(bigint) returns boolean language sql as 'select true'`)
	f.exec(`do $$ begin
		execute format('alter database %I set search_path = public, pg_catalog', current_database());
	end $$`)
	engines := []*idempotency.Engine{f.engine(idempotency.Config{}), f.engine(idempotency.Config{}), f.engine(idempotency.Config{})}

	gate := newGate()
	var rivals []<-chan reply
	for _, engine := range engines {
		rivals = append(rivals, start(t.Context(), engine, call("rivals", "a"), gate.before(write("a"))))
	}
	for range rivals {
		gate.arrived(t) // All of them at once, so that the locks do nothing.
	}
	close(gate.open)
	replays := 0
	for _, replies := range rivals {
		o, err := replied(t, replies)
		if err != nil {
			t.Error(err)
		}
		if o.Replayed {
			replays++
		}
	}
	if replays != len(rivals)-1 {
		t.Errorf("%d of %d rivals were replayed, want all but one", replays, len(rivals))
	}
	f.effects(1)

	const keys, callers = 30, 12
	var executed, reused atomic.Int32
	var all sync.WaitGroup
	for key := range keys {
		for i := range callers {
			all.Go(func() {
				text := []string{"a", "b"}[i%2]
				c := call(fmt.Sprint(key), text)
				o, err := run(t.Context(), engines[i%len(engines)], c, write(text))
				switch {
				case errors.Is(err, idempotency.ErrKeyReused):
					reused.Add(1)
				case err != nil || o.Value.Text != text:
					t.Errorf("%s: %+v, %v", text, o, err)
				case !o.Replayed:
					executed.Add(1)
				}
			})
		}
	}
	all.Wait()
	if executed.Load() != keys {
		t.Errorf("%d calls say that they executed, want %d", executed.Load(), keys)
	}
	if reused.Load() != keys*callers/2 {
		t.Errorf("%d calls were refused, want %d", reused.Load(), keys*callers/2)
	}
	f.effects(1 + keys)
}
