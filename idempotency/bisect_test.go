package idempotency_test

import (
	"context"
	"sync/atomic"
	"testing"

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
		})
	}
}
