package idempotency_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

// together sends calls that form one batch of an engine with one batch worker, each of
// a scope of its own, and returns what they came to.
func together(t *testing.T, engine *idempotency.Engine, batch *idempotency.Batch[string, note], inputs ...string) []reply {
	t.Helper()
	release := hold(t, engine, 1)
	defer release()
	calls := make([]chan reply, len(inputs))
	for i, input := range inputs {
		calls[i] = make(chan reply, 1)
		go func() {
			o, err := batch.Do(t.Context(), inScope(fmt.Sprintf("tenant %03d", i), "k", input), input)
			calls[i] <- reply{o, err}
		}()
	}
	queued(t, engine, len(inputs))
	release()
	replies := make([]reply, len(inputs))
	for i := range calls {
		replies[i].outcome, replies[i].err = replied(t, calls[i])
	}
	return replies
}

// executed checks that each of the replies is an execution.
func executed(t testing.TB, replies ...reply) {
	t.Helper()
	for i, r := range replies {
		if r.err != nil || r.outcome.Replayed {
			t.Errorf("call %d: %+v, %v; want it executed", i, r.outcome, r.err)
		}
	}
}

// texts are n inputs that differ.
func texts(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint("text ", i)
	}
	return all
}

// each is a batch's effect that works item by item.
func each(do func(ctx context.Context, tx pgx.Tx, item *noteItem) (note, error)) func(context.Context, pgx.Tx, []*noteItem) error {
	return func(ctx context.Context, tx pgx.Tx, items []*noteItem) error {
		for _, item := range items {
			n, err := do(ctx, tx, item)
			if err != nil {
				return err
			}
			item.Succeed(n)
		}
		return nil
	}
}

// Calls that fail over each other alone: nobody is to blame, and all execute.
func TestNeighbours_ThatDisturbEachOtherExecute(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"by a temporary table": `create temp table scratch (id int) on commit drop`,
		"by a setting": `do $$ begin
			if current_setting('test.seen', true) = 'yes' then raise exception 'seen'; end if;
			perform set_config('test.seen', 'yes', true);
		end $$`,
		"by what they have read": `do $$ begin
			if pg_current_xact_id_if_assigned() is not null and (select count(*) from notes where xmin::text = pg_current_xact_id()::text) > 1
			then raise exception 'another wrote'; end if;
		end $$`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			engine := f.engine(idempotency.Config{Batches: 1, Wait: testTimeout})
			batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(),
				each(func(ctx context.Context, tx pgx.Tx, item *noteItem) (note, error) {
					n, err := write(item.Input)(ctx, tx)
					if err == nil {
						err = does(sql)(ctx, f, tx)
					}
					return n, err
				}))
			executed(t, together(t, engine, batch, texts(12)...)...)
			f.effects(12)
		})
	}
}

// One of those who want the same has it, and the others hear that it is taken.
func TestNeighbours_ThatWantTheSame(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`create unique index on notes (text)`)
	engine := f.engine(idempotency.Config{Batches: 1, Wait: testTimeout})
	batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), writes)
	n := 0
	for _, r := range together(t, engine, batch, "same", "a", "same", "b", "same") {
		switch {
		case r.err == nil && !r.outcome.Replayed:
			n++
		case !own("23505")(r.err):
			t.Errorf("%+v, %v", r.outcome, r.err)
		}
	}
	if n != 3 {
		t.Errorf("%d calls executed, want 3", n)
	}
	f.effects(3)
}

// What only the whole batch satisfies holds for the whole batch. When one call has to
// leave it, the others are worth what they are worth alone, in the order of their keys.
func TestNeighbours_DeferWhatAllOfThemSatisfy(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		inputs []string
		// orphans says that a child may run alone before its parent.
		orphans bool
	}{
		"parents first":                    {[]string{"parent 1", "child 1", "child 1", "parent 2", "child 2"}, false},
		"children first":                   {[]string{"child 1", "child 2", "child 2", "parent 1", "parent 2"}, false},
		"parents first, beside a bad one":  {[]string{"parent 1", "child 1", "child 1", "parent 2", "child 2", "bad 1"}, false},
		"children first, beside a bad one": {[]string{"child 1", "child 2", "child 2", "parent 1", "parent 2", "bad 1"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.exec(`
				create table parents (id text primary key);
				create table children (parent text references parents deferrable initially deferred)`)
			engine := f.engine(idempotency.Config{Batches: 1, Wait: testTimeout})
			batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(),
				each(func(ctx context.Context, tx pgx.Tx, item *noteItem) (note, error) {
					kind, id, _ := strings.Cut(item.Input, " ")
					sql := map[string]string{
						"parent": `insert into parents values ($1)`,
						"child":  `insert into children values ($1)`,
						"bad":    `insert into children values ('nobody ' || $1)`,
					}[kind]
					if _, err := tx.Exec(ctx, sql, id); err != nil {
						return note{}, err
					}
					return write(item.Input)(ctx, tx)
				}))
			n := 0
			for i, r := range together(t, engine, batch, test.inputs...) {
				switch input := test.inputs[i]; {
				case own("23503")(r.err) && (input == "bad 1" || test.orphans && strings.HasPrefix(input, "child")):
				default:
					executed(t, r)
					n++
				}
			}
			f.effects(n)
		})
	}
}

// Two batches that lock the same rows, each in the other's order.
func TestNeighbours_OfADeadlockExecute(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`create table accounts (id int primary key); insert into accounts values (1), (2)`)
	engine := f.engine(idempotency.Config{Batches: 2, Wait: testTimeout}.WithMaxBatchDelay(1))
	var met atomic.Int32
	both := make(chan struct{})
	lock := func(first, second int) *idempotency.Batch[string, note] {
		var runs atomic.Int32
		return idempotency.NewBatch(engine, fmt.Sprint("write ", first), idempotency.AcrossScopes(),
			func(ctx context.Context, tx pgx.Tx, items []*noteItem) error {
				if _, err := tx.Exec(ctx, `select from accounts where id = $1 for update`, first); err != nil {
					return err
				}
				if runs.Add(1) == 1 {
					if met.Add(1) == 2 {
						close(both)
					}
					<-both
				}
				if _, err := tx.Exec(ctx, `select from accounts where id = $1 for update`, second); err != nil {
					return err
				}
				return writes(ctx, tx, items)
			})
	}
	release := hold(t, engine, 2)
	defer release()
	var calls []chan reply
	for i, batch := range []*idempotency.Batch[string, note]{lock(1, 2), lock(2, 1)} {
		for j := range 5 {
			answer := make(chan reply, 1)
			calls = append(calls, answer)
			go func() {
				text := fmt.Sprint(i, " ", j)
				o, err := batch.Do(t.Context(), inScope(text, "k", text), text)
				answer <- reply{o, err}
			}()
		}
	}
	queued(t, engine, len(calls))
	release()
	for _, answer := range calls {
		o, err := replied(t, answer)
		executed(t, reply{o, err})
	}
	f.effects(len(calls))
}

// The same with single calls, which wait for locks long enough for Postgres to find the
// deadlock.
func TestNeighbours_OfADeadlockOfSingleCallsExecute(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`create table accounts (id int primary key); insert into accounts values (1), (2)`)
	var events kinds
	engine := f.engine(idempotency.Config{Workers: 2, Wait: testTimeout, Observer: events.observe})
	var met atomic.Int32
	both := make(chan struct{})
	lock := func(first, second int) effect {
		runs := 0
		return func(ctx context.Context, tx pgx.Tx) (note, error) {
			if _, err := tx.Exec(ctx, `select from accounts where id = $1 for update`, first); err != nil {
				return note{}, err
			}
			if runs++; runs == 1 {
				if met.Add(1) == 2 {
					close(both)
				}
				<-both
			}
			if _, err := tx.Exec(ctx, `select from accounts where id = $1 for update`, second); err != nil {
				return note{}, err
			}
			return write("a")(ctx, tx)
		}
	}
	calls := []<-chan reply{
		singly(t, engine, inScope("1", "k", "a"), lock(1, 2)),
		singly(t, engine, inScope("2", "k", "a"), lock(2, 1)),
	}
	for _, replies := range calls {
		o, err := replied(t, replies)
		executed(t, reply{o, err})
	}
	f.effects(2)
	closed(t, engine)
	events.mu.Lock()
	defer events.mu.Unlock()
	if !slices.Contains(events.seen, "retried") {
		t.Errorf("events %v: there was no deadlock", events.seen)
	}
}

// singly starts a call with Do, whatever form is under test.
func singly(t testing.TB, engine *idempotency.Engine, call idempotency.Call, effect effect) <-chan reply {
	t.Helper()
	replies := make(chan reply, 1)
	go func() {
		o, err := idempotency.Do(t.Context(), engine, call, effect)
		replies <- reply{o, err}
	}()
	return replies
}

// A refusal that rests on a neighbour's row is told when that row is there. When its
// COMMIT is lost the refused call has what it wants.
func TestNeighbours_RefusedOverARowThatIsLostExecute(t *testing.T) {
	t.Parallel()
	errTaken := errors.New("taken")
	for name, lost := range map[string]bool{"the request is lost": true, "the request is cut": true, "the reply is lost": false, "the reply is an error": false} {
		for word, refuse := range map[string]func(*noteItem, error){"Fail": (*noteItem).Fail, "Decline": (*noteItem).Decline} {
			t.Run(word+", "+name, func(t *testing.T) {
				t.Parallel()
				f := newFixture(t)
				proxy, url := newProxy(t, f.url)
				engine := f.engineOn(f.open(url, 6), idempotency.Config{Batches: 1, Wait: testTimeout})
				var met <-chan struct{}
				batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), func(ctx context.Context, tx pgx.Tx, items []*noteItem) error {
					for _, item := range items {
						if item.Input == "first" {
							select {
							case <-met: // It has lost its COMMIT, and wants nothing any more.
								item.Fail(errRefused)
								continue
							default:
							}
						}
						var taken bool
						if err := tx.QueryRow(ctx, `select exists (select from notes)`).Scan(&taken); err != nil {
							return err
						}
						if taken {
							refuse(item, errTaken)
							continue
						}
						n, err := write(item.Input)(ctx, tx)
						if err != nil {
							return err
						}
						item.Succeed(n)
					}
					return nil
				})
				met = proxy.arm(faults[name])
				replies := together(t, engine, batch, "first", "second")
				if lost {
					wantError(t, replies[0].err, errRefused)
					executed(t, replies[1])
				} else {
					executed(t, replies[0])
					wantError(t, replies[1].err, errTaken)
				}
				f.effects(1)
			})
		}
	}
}
