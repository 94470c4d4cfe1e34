package idempotency_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

// A misdeed is what the effect of one call does to the transaction that it may share
// with others.
type misdeed struct {
	schema string
	// hold takes from another session what the call needs, until the test ends.
	hold string
	do   func(ctx context.Context, f *fixture, tx pgx.Tx) error
	// config is the engine's, and wait how long the call's caller waits, when it is not
	// as long as the engine's.
	config idempotency.Config
	wait   time.Duration
	// is says whether the call heard what it should.
	is func(error) bool
}

func own(code string) func(error) bool {
	return func(err error) bool { return sqlState(err) == code && !errors.Is(err, idempotency.ErrUnavailable) }
}

func is(want error) func(error) bool {
	return func(err error) bool { return errors.Is(err, want) }
}

func panicked(err error) bool { return errors.As(err, new(*idempotency.PanicError)) }

// innocents are the calls that share a batch with the misdeeds, each of a scope of its
// own.
const innocents = 16

// misdeeds runs each of them with Do, as the only call of a batch, and twice among
// innocent calls of other scopes: they execute, and who did it hears so.
func misdeeds(t *testing.T, all map[string]misdeed) {
	t.Helper()
	for name, m := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			if m.schema != "" {
				f.exec(m.schema)
			}
			if m.hold != "" {
				f.holds(m.hold)
			}
			m.config.Wait = cmp.Or(m.config.Wait, testTimeout)
			engine := f.engine(m.config)
			_, err := idempotency.Do(m.context(t), engine, call("alone", "bad"), func(ctx context.Context, tx pgx.Tx) (note, error) {
				if _, err := write("lost")(ctx, tx); err != nil {
					return note{}, err
				}
				return note{}, m.do(ctx, f, tx)
			})
			if !m.is(err) {
				t.Errorf("alone: error %v", err)
			}
			_, err = m.batch(f, engine).Do(m.context(t), call("of one", "bad"), "bad")
			if !m.is(err) {
				t.Errorf("in a batch of one: error %v", err)
			}
			f.effects(0)
			m.among(f)
			f.effects(innocents)
		})
	}
}

func (m misdeed) context(t testing.TB) context.Context {
	t.Helper()
	if m.wait == 0 {
		return t.Context()
	}
	ctx, cancel := context.WithTimeout(t.Context(), m.wait)
	t.Cleanup(cancel)
	return ctx
}

// batch has an effect that works item by item, so that the misdeed stands between the
// work of two innocents.
func (m misdeed) batch(f *fixture, engine *idempotency.Engine) *idempotency.Batch[string, note] {
	return idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), func(ctx context.Context, tx pgx.Tx, items []*noteItem) error {
		for _, item := range items {
			if item.Input == "bad" {
				if err := m.do(ctx, f, tx); err != nil {
					return err
				}
				item.Succeed(note{})
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
}

// among runs two of the misdeeds in one batch with the innocents.
func (m misdeed) among(f *fixture) {
	f.t.Helper()
	t := f.t.(*testing.T)
	config := m.config
	config.Batches = 1
	engine := f.engine(config)
	batch := m.batch(f, engine)
	release := hold(t, engine, 1)
	defer release()
	var callers sync.WaitGroup
	for i := range innocents {
		callers.Go(func() {
			text := fmt.Sprintf("tenant %02d", i)
			o, err := batch.Do(t.Context(), inScope(text, "k", text), text)
			if err != nil || o.Replayed || o.Value.Text != text {
				t.Errorf("the innocent %s: %+v, %v", text, o, err)
			}
		})
	}
	for _, scope := range []string{"tenant 04, bad", "tenant 11, bad"} {
		callers.Go(func() {
			o, err := batch.Do(m.context(t), inScope(scope, "k", "bad"), "bad")
			if !m.is(err) {
				t.Errorf("%s: %+v, error %v", scope, o, err)
			}
		})
	}
	queued(t, engine, innocents+2)
	release()
	callers.Wait()
}

// holds executes the statement in a transaction that lasts as long as the test.
func (f *fixture) holds(sql string) {
	f.t.Helper()
	tx, err := f.pool.Begin(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := tx.Exec(f.t.Context(), sql); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(f.t.Context())) })
}
