package idempotency_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

// hollow is an error whose methods panic when it is nil.
type hollow struct{ text string }

func (h *hollow) Error() string { return h.text }

// Whatever an effect leaves behind on its connection, or does once it has returned, the
// next call on that connection has its effect and its key, once, and the process lives.
func TestLeftover_OfAnEffectIsNotTheNextCalls(t *testing.T) {
	t.Parallel()
	endless := `select generate_series(1, 2000000000)`
	for name, effect := range map[string]func(context.Context, pgx.Tx) (after func(), err error){
		"an error whose methods panic": func(context.Context, pgx.Tx) (func(), error) {
			return nil, (*hollow)(nil)
		},
		"a copy whose source panics": func(ctx context.Context, tx pgx.Tx) (func(), error) {
			_, err := tx.CopyFrom(ctx, pgx.Identifier{"notes"}, []string{"text"},
				pgx.CopyFromSlice(1, func(int) ([]any, error) { panic("at the disco") }))
			return nil, err
		},
		"a result without an end": func(ctx context.Context, tx pgx.Tx) (func(), error) {
			_, _ = tx.Exec(ctx, `set local statement_timeout = 0`)
			_, err := tx.Query(context.WithoutCancel(ctx), endless) //nolint:sqlclosecheck // That is what is bad about it.
			return nil, err
		},
		"a statement that goes on": func(ctx context.Context, tx pgx.Tx) (func(), error) {
			begun := make(chan struct{})
			go func() {
				close(begun)
				_, _ = tx.Exec(context.WithoutCancel(ctx), `select pg_sleep(0.2)`)
			}()
			<-begun
			time.Sleep(10 * time.Millisecond)
			return nil, nil
		},
		"a savepoint that is kept": func(ctx context.Context, tx pgx.Tx) (func(), error) {
			kept, err := tx.Begin(ctx)
			return func() {
				_, _ = kept.Exec(context.WithoutCancel(ctx), `delete from notes`)
				_ = kept.Rollback(context.WithoutCancel(ctx))
			}, err
		},
		"a temporary table":     leaves(`create temp table notes (like public.notes including all)`),
		"a temporary key table": leaves(`create temp table idempotency_keys (like public.idempotency_keys including all)`),
		"an encoding":           leaves(`set client_encoding = 'LATIN1'`),
		"a local encoding":      leaves(`set local client_encoding = 'LATIN1'`),
		"a lock of the session": leaves(fmt.Sprintf(`select pg_advisory_lock(%d)`, idempotency.LockOf("tenant", "next"))),
		"a commit in disguise":  leaves(`/* done */ commit`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			engine := f.engineOn(f.open(f.url, 4), idempotency.Config{Workers: 1, Wait: 20 * time.Second, Budget: 2 * time.Second})
			var after func()
			_, _ = idempotency.Do(t.Context(), engine, call("bad", "a"), func(ctx context.Context, tx pgx.Tx) (n note, err error) {
				after, err = effect(ctx, tx)
				return n, err
			})
			o, err := idempotency.Do(t.Context(), engine, call("next", "é"), func(ctx context.Context, tx pgx.Tx) (note, error) {
				n, err := write("é")(ctx, tx)
				if after != nil {
					after()
				}
				return n, err
			})
			if err != nil || o.Replayed || o.Value.Text != "é" {
				t.Errorf("the next call: %+v, %v; want it executed", o, err)
			}
			if n := f.count(`select count(*) from public.notes where text = 'é'`); n != 1 {
				t.Errorf("%d effects of the next call, want 1", n)
			}
			other := f.engine(idempotency.Config{})
			if again, err := idempotency.Do(t.Context(), other, call("next", "é"), never(t)); err != nil || !again.Replayed || again.Value != o.Value {
				t.Errorf("the next call, replayed: %+v, %v", again, err)
			}
		})
	}
}

// leaves is an effect of one statement.
func leaves(sql string) func(context.Context, pgx.Tx) (func(), error) {
	return func(ctx context.Context, tx pgx.Tx) (func(), error) {
		_, err := tx.Exec(ctx, sql)
		return nil, err
	}
}

// An operation whose budget is over before it begins says nothing of the database.
func TestLeftover_ShortBudgetIsNotADatabaseThatIsAway(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{})
	for i := range 50 {
		c := call(fmt.Sprint(i), "a")
		c.Limits.Budget, c.Limits.Wait = time.Millisecond, 20*time.Millisecond
		_, err := idempotency.Do(t.Context(), engine, c, func(ctx context.Context, _ pgx.Tx) (note, error) {
			<-ctx.Done()
			return note{}, ctx.Err()
		})
		if err == nil || !errors.Is(err, idempotency.ErrUnavailable) && !errors.Is(err, idempotency.ErrInProgress) {
			t.Errorf("error %v, want that it can be sent again", err)
		}
		if engine.Stats().Away {
			t.Fatal("the database is said to be away")
		}
	}
}

// The rows of a batch are each their call's.
func TestBatch_RowsAreTheirCalls(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{Batches: 1, TTL: time.Hour, Retention: 2 * time.Hour})
	batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), writes)
	release := hold(t, engine, 1)
	defer release()
	answers := make(chan error, 3)
	for i := range 3 {
		go func() {
			c := inScope(fmt.Sprint("scope ", i), fmt.Sprint("key ", i), "a")
			c.RequestID, c.SpanID = fmt.Sprint("request ", i), fmt.Sprintf("%016d", i)
			o, err := batch.Do(t.Context(), c, "a")
			if err == nil && (o.RequestID != c.RequestID || o.SpanID != c.SpanID) {
				err = fmt.Errorf("request id %q, span %q", o.RequestID, o.SpanID)
			}
			answers <- err
		}()
	}
	queued(t, engine, 3)
	release()
	for range 3 {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if n := f.count(`select count(*) from idempotency_keys where right(scope, 1) = right(key, 1) and right(key, 1) = right(request_id, 1) and right(request_id, 1) = right(trace_id, 1)
		and expires_at = created_at + interval '1 hour' and retained_until = created_at + interval '2 hours'`); n != 3 {
		t.Errorf("%d rows are their calls', want 3", n)
	}
}
