package idempotency_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

// does is a misdeed of one statement, whose error the effect returns.
func does(sql string) func(context.Context, *fixture, pgx.Tx) error {
	return func(ctx context.Context, _ *fixture, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, sql)
		return err
	}
}

func TestFailure_OfTheEffectIsItsOwn(t *testing.T) {
	t.Parallel()
	misdeeds(t, map[string]misdeed{
		"an error": {
			do: func(context.Context, *fixture, pgx.Tx) error { return errRefused },
			is: is(errRefused),
		},
		"a panic": {
			do: func(context.Context, *fixture, pgx.Tx) error { panic("at the disco") },
			is: panicked,
		},
		"the end of its goroutine": {
			do: func(context.Context, *fixture, pgx.Tx) error { runtime.Goexit(); return nil },
			is: panicked,
		},
		"a unique violation": {
			schema: `create table taken (id int primary key); insert into taken values (1)`,
			do:     does(`insert into taken values (1)`),
			is:     own("23505"),
		},
		"a null":                       {do: does(`insert into notes (text) values (null)`), is: own("23502")},
		"a division by zero":           {do: does(`select 1/0`), is: own("22012")},
		"a function that is not there": {do: does(`select no_such_function()`), is: own("42883")},
		"an error that it swallows": {
			do: func(ctx context.Context, f *fixture, tx pgx.Tx) error {
				_ = does(`select 1/0`)(ctx, f, tx)
				return nil
			},
			is: is(idempotency.ErrTransaction),
		},
		"an error in a savepoint that it swallows": {
			do: func(ctx context.Context, f *fixture, tx pgx.Tx) error {
				nested, err := tx.Begin(ctx)
				if err != nil {
					return err
				}
				_ = does(`select 1/0`)(ctx, f, nested)
				return nil
			},
			is: is(idempotency.ErrTransaction),
		},
	})
}

// An error in a savepoint of the effect's own, which it rolls back, is no failure.
func TestFailure_InASavepointThatIsRolledBackIsNone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{})
	o, err := run(t.Context(), engine, call("k", "a"), func(ctx context.Context, tx pgx.Tx) (note, error) {
		nested, err := tx.Begin(ctx)
		if err != nil {
			return note{}, err
		}
		if _, err := write("lost")(ctx, nested); err != nil {
			return note{}, err
		}
		if err := does(`select 1/0`)(ctx, f, nested); sqlState(err) != "22012" {
			t.Errorf("error %v, want the division's", err)
		}
		if err := nested.Rollback(ctx); err != nil {
			return note{}, err
		}
		return write("a")(ctx, tx)
	})
	if err != nil || o.Replayed || o.Value.Text != "a" {
		t.Errorf("%+v, %v", o, err)
	}
	f.effects(1)
}

func TestFailure_OfTheEffectsTimeIsUnavailable(t *testing.T) {
	t.Parallel()
	brief := idempotency.Config{Budget: 2 * time.Second, Wait: 30 * time.Second}
	misdeeds(t, map[string]misdeed{
		"a lock that it does not wait for": {
			schema: `create table held (id int); insert into held values (1)`, hold: `delete from held`,
			do: does(`select from held for update nowait`),
			is: is(idempotency.ErrUnavailable),
		},
		"a lock that another session holds": {
			schema: `create table held (id int); insert into held values (1)`, hold: `delete from held`,
			do:     does(`select from held for update`),
			is:     is(idempotency.ErrUnavailable),
			config: brief,
		},
		"a lock_timeout of its own": {
			schema: `create table held (id int); insert into held values (1)`, hold: `delete from held`,
			do: does(`do $$ begin set local lock_timeout = 1; perform from held for update; end $$`),
			is: is(idempotency.ErrUnavailable),
		},
		"a statement_timeout of its own": {
			do: func(ctx context.Context, f *fixture, tx pgx.Tx) error {
				if err := does(`set local statement_timeout = 20`)(ctx, f, tx); err != nil {
					return err
				}
				return does(`select pg_sleep(60)`)(ctx, f, tx)
			},
			is: is(idempotency.ErrUnavailable),
		},
		"a statement longer than the budget": {
			do:     does(`select pg_sleep(60)`),
			is:     is(idempotency.ErrUnavailable),
			config: brief,
		},
	})
}

// The effect gets no connection back that it ruined, and who it shared it with has
// another.
func TestFailure_OfTheConnectionIsNobodysButHisWhoRepeatsIt(t *testing.T) {
	t.Parallel()
	misdeeds(t, map[string]misdeed{
		"a connection that it closes": {
			do: func(ctx context.Context, _ *fixture, tx pgx.Tx) error { return tx.Conn().Close(ctx) },
			is: is(idempotency.ErrUnavailable),
		},
		"a session that it terminates": {
			do: does(`select pg_terminate_backend(pg_backend_pid())`),
			is: is(idempotency.ErrUnavailable),
		},
		"a deadline of its own on a statement": {
			do: func(ctx context.Context, _ *fixture, tx pgx.Tx) error {
				ctx, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
				defer cancel()
				_, err := tx.Exec(ctx, `select pg_sleep(60)`)
				return err
			},
			is: is(idempotency.ErrUnavailable),
		},
		"rows left open on the bare connection": {
			do: func(ctx context.Context, _ *fixture, tx pgx.Tx) error {
				_, err := tx.Conn().Query(ctx, `select generate_series(1, 100)`) //nolint:sqlclosecheck // That is what is bad about it.
				return err
			},
			is: func(err error) bool {
				return errors.Is(err, idempotency.ErrUnavailable) || errors.Is(err, idempotency.ErrTransaction)
			},
		},
	})
}

func TestFailure_ToCloseAResultIsItsOwn(t *testing.T) {
	t.Parallel()
	misdeeds(t, map[string]misdeed{
		"rows": {
			do: func(ctx context.Context, _ *fixture, tx pgx.Tx) error {
				_, err := tx.Query(ctx, `select generate_series(1, 100)`) //nolint:sqlclosecheck // That is what is bad about it.
				return err
			},
			is: is(idempotency.ErrTransaction),
		},
		"a row": {
			do: func(ctx context.Context, _ *fixture, tx pgx.Tx) error {
				_ = tx.QueryRow(ctx, `select 1`)
				return nil
			},
			is: is(idempotency.ErrTransaction),
		},
		"a batch's": {
			do: func(ctx context.Context, _ *fixture, tx pgx.Tx) error {
				var batch pgx.Batch
				batch.Queue(`select 1`)
				batch.Queue(`select 2`)
				_ = tx.SendBatch(ctx, &batch)
				return nil
			},
			is: is(idempotency.ErrTransaction),
		},
		"rows of a savepoint": {
			do: func(ctx context.Context, _ *fixture, tx pgx.Tx) error {
				nested, err := tx.Begin(ctx)
				if err == nil {
					_, err = nested.Query(ctx, `select generate_series(1, 100)`) //nolint:sqlclosecheck // That is what is bad about it.
				}
				return err
			},
			is: is(idempotency.ErrTransaction),
		},
	})
}

func TestFailure_OfDeferredConstraintsIsItsOwn(t *testing.T) {
	t.Parallel()
	misdeeds(t, map[string]misdeed{
		"a foreign key": {
			schema: `
				create table parents (id int primary key);
				create table children (parent int references parents deferrable initially deferred)`,
			do: does(`insert into children values (1)`),
			is: own("23503"),
		},
		"a unique one": {
			schema: `create table taken (id int unique deferrable initially deferred); insert into taken values (1)`,
			do:     does(`insert into taken values (1)`),
			is:     own("23505"),
		},
		"a trigger": {
			schema: `
				create table checked (id int);
				create function complain() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$;
				create constraint trigger complains after insert on checked deferrable initially deferred
					for each row execute function complain()`,
			do: does(`insert into checked values (1)`),
			is: own("P0001"),
		},
	})
}

// Nobody is to blame for a conflict, however often it comes.
func TestFailure_OfAConflictIsUnavailable(t *testing.T) {
	t.Parallel()
	all := map[string]misdeed{}
	for _, code := range []string{"40001", "40P01", "53200", "25006"} {
		all[code] = misdeed{
			do:   does(`do $$ begin raise exception using errcode = '` + code + `'; end $$`),
			wait: 500 * time.Millisecond,
			is:   is(idempotency.ErrUnavailable),
		}
	}
	misdeeds(t, all)
}

// What an effect sends over the bare connection is not seen. It is found out that the
// transaction is another, and its keys are not stored.
func TestFailure_ToKeepTheTransactionOnTheBareConnectionIsItsOwn(t *testing.T) {
	t.Parallel()
	for sql, notes := range map[string]int{"commit and chain": 1, "rollback and chain": 0} {
		t.Run(sql, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			engine := f.engine(idempotency.Config{Wait: testTimeout})
			_, err := run(t.Context(), engine, call("k", "a"), func(ctx context.Context, tx pgx.Tx) (note, error) {
				n, err := write("a")(ctx, tx)
				if err == nil {
					_, err = tx.Conn().Exec(ctx, sql)
				}
				return n, err
			})
			wantError(t, err, idempotency.ErrTransaction)
			if n := f.count(`select count(*) from notes`); n != notes {
				t.Errorf("%d effects stand, want %d", n, notes)
			}
			if n := f.count(`select count(*) from idempotency_keys`); n != 0 {
				t.Errorf("%d keys are stored, want none", n)
			}
			if o := mustDo(t, engine, "k", "a"); o.Replayed {
				t.Errorf("the call sent again: %+v; want it executed", o)
			}
		})
	}
}

// An effect that ends its transaction with a statement does not go on outside of it.
func TestFailure_ToKeepTheTransactionIsItsOwn(t *testing.T) {
	t.Parallel()
	then := func(sql string) func(context.Context, *fixture, pgx.Tx) error {
		return func(ctx context.Context, f *fixture, tx pgx.Tx) error {
			if err := does(sql)(ctx, f, tx); err != nil {
				return err
			}
			_, err := write("stray")(ctx, tx)
			return err
		}
	}
	misdeeds(t, map[string]misdeed{
		"rollback":             {do: does(`rollback`), is: is(idempotency.ErrTransaction)},
		"rollback, and a note": {do: then(`rollback`), is: is(idempotency.ErrTransaction)},
		"an error, and a rollback": {
			do: func(ctx context.Context, f *fixture, tx pgx.Tx) error {
				_ = does(`select 1/0`)(ctx, f, tx)
				return then(`rollback`)(ctx, f, tx)
			},
			is: is(idempotency.ErrTransaction),
		},
		"an error, and a commit": {
			do: func(ctx context.Context, f *fixture, tx pgx.Tx) error {
				_ = does(`select 1/0`)(ctx, f, tx)
				return then(`commit`)(ctx, f, tx)
			},
			is: is(idempotency.ErrTransaction),
		},
		"rollback and chain": {do: does(`rollback and chain`), is: is(idempotency.ErrTransaction)},
		"commit":             {do: then(`commit`), is: is(idempotency.ErrTransaction)},
		"commit, in a batch": {
			do: func(ctx context.Context, _ *fixture, tx pgx.Tx) error {
				var batch pgx.Batch
				batch.Queue(`insert into notes (text) values ('stray')`)
				batch.Queue(`COMMIT;`)
				return tx.SendBatch(ctx, &batch).Close()
			},
			is: is(idempotency.ErrTransaction),
		},
		"commit and chain": {do: then(`commit and chain`), is: is(idempotency.ErrTransaction)},
	})
}
