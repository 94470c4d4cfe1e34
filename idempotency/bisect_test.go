package idempotency_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

// A bisection runs the effect for halves, and does not give up for the others what they
// gain by one commit.
func TestBisect_FindsOneCallInFewRuns(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"an error":               `select 1/0`,
		"a deferred constraint":  `insert into children values (1)`,
		"a lock that is not his": `select from held for update nowait`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.exec(`
				create table parents (id int primary key);
				create table children (parent int references parents deferrable initially deferred);
				create table held (id int); insert into held values (1)`)
			f.holds(`delete from held`)
			engine := f.engine(idempotency.Config{Batches: 1, Wait: testTimeout})
			var runs, single atomic.Int32
			batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), func(ctx context.Context, tx pgx.Tx, items []*noteItem) error {
				runs.Add(1)
				if len(items) == 1 {
					single.Add(1)
				}
				for _, item := range items {
					if item.Input == "bad" {
						if err := does(sql)(ctx, f, tx); err != nil {
							return err
						}
					}
				}
				return writes(ctx, tx, items)
			})
			inputs := texts(128)
			inputs[77] = "bad"
			for i, r := range together(t, engine, batch, inputs...) {
				if i != 77 {
					executed(t, r)
				} else if r.err == nil {
					t.Errorf("the bad call: %+v", r.outcome)
				}
			}
			f.effects(127)
			// All of them, two for each halving, and the bad one alone.
			if runs.Load() > 1+2*7+1 || single.Load() > 3 {
				t.Errorf("the effect ran %d times, %d of them for one call", runs.Load(), single.Load())
			}
			if n := engine.Stats().Bisections; n != 1 {
				t.Errorf("%d batches were bisected, want 1", n)
			}
		})
	}
}

// A batch waits for a lock for 50 ms, and while it is bisected over a wait for a
// millisecond: each of its runs may meet the lock again. A call that runs alone has most
// of its budget.
func TestBisect_OverAWaitForALockWaitsLittle(t *testing.T) {
	t.Parallel()
	const long, little, alone = "50ms", "1ms", "18s"
	for name, test := range map[string]struct {
		inputs []string
		want   []string
	}{
		"an error": {
			[]string{"bad", "a", "b", "c"},
			[]string{"4 " + long, "2 " + long, "1 " + long, "1 " + long, "2 " + long, "1 " + alone},
		},
		"a wait": {
			[]string{"slow", "a", "b", "c"},
			[]string{"4 " + long, "2 " + little, "1 " + little, "1 " + little, "2 " + little, "1 " + alone},
		},
		"an error, and a wait in another half": {
			[]string{"bad", "a", "b", "slow"},
			[]string{"4 " + long, "2 " + long, "1 " + long, "1 " + long, "2 " + long, "1 " + little, "1 " + alone, "1 " + alone},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.exec(`create table held (id int); insert into held values (1)`)
			f.holds(`delete from held`)
			// The single calls run one after the other.
			engine := f.engine(idempotency.Config{Batches: 1, Workers: 1, Wait: testTimeout, Budget: 20 * time.Second})
			var mu sync.Mutex
			var got []string
			batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), func(ctx context.Context, tx pgx.Tx, items []*noteItem) error {
				var timeout string
				if err := tx.QueryRow(ctx, `select current_setting('lock_timeout')`).Scan(&timeout); err != nil {
					return err
				}
				mu.Lock()
				got = append(got, fmt.Sprint(len(items), " ", timeout))
				mu.Unlock()
				for _, item := range items {
					if sql := map[string]string{"bad": `select 1/0`, "slow": `select from held for update nowait`}[item.Input]; sql != "" {
						if err := does(sql)(ctx, f, tx); err != nil {
							return err
						}
					}
				}
				return writes(ctx, tx, items)
			})
			for i, r := range together(t, engine, batch, test.inputs...) {
				if input := test.inputs[i]; input != "bad" && input != "slow" {
					executed(t, r)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("calls and lock_timeout of each run (-want +got):\n%s", diff)
			}
		})
	}
}

// A scope that has many calls in a batch is not kept apart because some of them fail.
func TestBisect_BlamesFewCallsOfAScopeAlone(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ calls, apart int }{
		"a scope with few calls":  {5, 1},
		"a scope with many calls": {6, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			engine := f.engine(idempotency.Config{Batches: 1, Wait: testTimeout})
			batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(),
				each(func(ctx context.Context, tx pgx.Tx, item *noteItem) (note, error) {
					if strings.HasPrefix(item.Input, "bad") {
						return note{}, errRefused
					}
					return write(item.Input)(ctx, tx)
				}))
			release := hold(t, engine, 1)
			defer release()
			var callers sync.WaitGroup
			for i := range test.calls {
				callers.Go(func() {
					text := fmt.Sprint("good ", i)
					if i < 2 {
						text = fmt.Sprint("bad ", i)
					}
					_, err := batch.Do(t.Context(), call(text, text), text)
					if i < 2 {
						wantError(t, err, errRefused)
					} else if err != nil {
						t.Error(err)
					}
				})
			}
			queued(t, engine, test.calls)
			release()
			callers.Wait()
			if apart := engine.Stats().Apart; apart != test.apart {
				t.Errorf("%d scopes are apart, want %d", apart, test.apart)
			}
			f.effects(test.calls - 2)
		})
	}
}
