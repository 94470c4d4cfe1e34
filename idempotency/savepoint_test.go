package idempotency_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

// An effect that goes back to a savepoint which it did not set finds none, and takes
// nothing of its neighbours back.
func TestSavepoint_OfTheEngineIsNotTheEffects(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{Batches: 1})
	batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), func(ctx context.Context, tx pgx.Tx, items []*noteItem) error {
		if err := writes(ctx, tx, items); err != nil {
			return err
		}
		for _, i := range items {
			if i.Input == "back" {
				_, err := tx.Exec(ctx, `rollback to savepoint onceql`)
				return err
			}
		}
		return nil
	})
	release := hold(t, engine, 1)
	defer release()
	answers := map[string]chan error{"a": make(chan error, 1), "b": make(chan error, 1), "back": make(chan error, 1)}
	for text, answer := range answers {
		go func() {
			_, err := batch.Do(t.Context(), inScope(text, text, text), text)
			answer <- err
		}()
	}
	queued(t, engine, len(answers))
	release()
	if err := errors.Join(<-answers["a"], <-answers["b"]); err != nil {
		t.Error(err)
	}
	if err := <-answers["back"]; sqlState(err) != "3B001" { // invalid_savepoint_specification
		t.Errorf("error %v, want that there is no such savepoint", err)
	}
	f.effects(2)
}
