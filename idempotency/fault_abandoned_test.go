package idempotency_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

// An effect that runs a statement with a context of its own. Postgres's timeout
// ends it at the Budget; where the effect has lifted that too, it is abandoned in
// the middle of the statement.
func TestBudget_EndsStatementsThatHeedNoContext(t *testing.T) {
	t.Parallel()
	for name, lifted := range map[string]bool{"ended by Postgres": false, "abandoned": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			engine := f.engineOn(f.open(f.url, 4), idempotency.Config{Budget: time.Second, Wait: time.Minute})
			came := make(chan error, 2)
			_, err := run(t.Context(), engine, call("k", "a"), func(ctx context.Context, tx pgx.Tx) (note, error) {
				own := context.WithoutCancel(ctx)
				if _, err := write("stray")(own, tx); err != nil {
					return note{}, err
				}
				if lifted {
					if _, err := tx.Exec(own, `set local statement_timeout = 0`); err != nil {
						return note{}, err
					}
				}
				_, err := tx.Exec(own, `select pg_sleep(5)`)
				came <- err
				if _, again := tx.Exec(own, `insert into notes (text) values ('stray')`); again == nil {
					t.Error("the transaction could still be used")
				}
				return note{}, err
			})
			wantError(t, err, idempotency.ErrUnavailable)
			var state interface{ SQLState() string }
			if err := <-came; err == nil || errors.As(err, &state) == lifted {
				t.Errorf("the statement ended with %v; want Postgres's word: %t", err, !lifted)
			} else if !lifted && state.SQLState() != "57014" {
				t.Errorf("SQLSTATE %s, want query_canceled", state.SQLState())
			}
			if o, err := insist(t, engine, call("k", "a"), write("a")); err != nil || o.Replayed {
				t.Errorf("the retry: %+v, %v; want an execution", o, err)
			}
			f.effects(1)
		})
	}
}
