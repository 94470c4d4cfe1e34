package idempotency_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

type pending = idempotency.Item[string, note]

var errRefused = errors.New("refused")

// writes is the effect of many: one insert for all texts. It refuses "refuse".
func writes(ctx context.Context, tx pgx.Tx, group []*pending) error {
	var texts []string
	var accepted []*pending
	for _, p := range group {
		if p.Input == "refuse" {
			p.Fail(errRefused)
			continue
		}
		accepted = append(accepted, p)
		texts = append(texts, p.Input)
	}
	rows, _ := tx.Query(ctx, `insert into notes (text) select unnest($1::text[]) returning id, text`, texts)
	inserted, err := pgx.CollectRows(rows, pgx.RowToStructByPos[note])
	if err != nil {
		return err
	}
	for i, p := range accepted {
		p.Succeed(inserted[i])
	}
	return nil
}

// hold takes the engine's group workers until the function it returns is called,
// so that calls made meanwhile form groups.
func hold(t *testing.T, engine *idempotency.Engine, groups int) (release func()) {
	t.Helper()
	entered, open := make(chan struct{}), make(chan struct{})
	blocker := idempotency.NewBatch(engine, "block", idempotency.AcrossScopes(),
		func(_ context.Context, _ pgx.Tx, group []*pending) error {
			entered <- struct{}{}
			<-open
			for _, p := range group {
				p.Fail(errRefused)
			}
			return nil
		})
	for i := range groups {
		go func() { _, _ = blocker.Do(t.Context(), call(fmt.Sprint("blocker ", i), "block"), "block") }()
		<-entered
	}
	return sync.OnceFunc(func() { close(open) })
}

func TestBatch_GroupsDistinctKeysAndReplays(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{Batches: 1})
	var transactions atomic.Int32
	operation := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), func(ctx context.Context, tx pgx.Tx, group []*pending) error {
		transactions.Add(1)
		return writes(ctx, tx, group)
	})
	release := hold(t, engine, 1)
	defer release()
	for round, replayed := range []bool{false, true} {
		var callers sync.WaitGroup
		for i := range 100 {
			callers.Go(func() {
				text := fmt.Sprint(i)
				o, err := operation.Do(t.Context(), call(text, text), text)
				if err != nil || o.Value.Text != text || o.Replayed != replayed {
					t.Errorf("round %d, %s: %+v, %v", round, text, o, err)
				}
			})
		}
		if round == 0 {
			queued(t, engine, 100)
			release()
		}
		callers.Wait()
	}
	if n := transactions.Load(); n != 1 {
		t.Errorf("%d transactions ran the effect, want 1", n)
	}
	f.effects(100)
}

func TestBatch_BadCallsFailAlone(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]struct {
		text string
		is   func(error) bool
	}{
		"by Err":               {"refuse", func(err error) bool { return errors.Is(err, errRefused) }},
		"by the database":      {"a\x00b", func(err error) bool { return sqlState(err) == "22021" }},
		"by a panic":           {"panic", func(err error) bool { return errors.As(err, new(*idempotency.PanicError)) }},
		"by an error of all":   {"fail", func(err error) bool { return errors.Is(err, errRefused) }},
		"by a huge payload":    {"huge", func(err error) bool { return errors.Is(err, idempotency.ErrPayload) }},
		"by a swallowed error": {"swallow", func(err error) bool { return errors.Is(err, idempotency.ErrTransaction) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			engine := f.engine(idempotency.Config{Batches: 1})
			operation := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), func(ctx context.Context, tx pgx.Tx, group []*pending) error {
				for _, p := range group {
					switch p.Input {
					case "panic":
						panic("at the disco")
					case "fail":
						return errRefused
					case "swallow":
						_, _ = tx.Exec(ctx, `select 1/0`)
						return nil
					}
				}
				for _, p := range group {
					if p.Input == "huge" {
						p.Succeed(note{Text: strings.Repeat("a", idempotency.MaxPayload)})
					}
				}
				return writes(ctx, tx, group)
			})
			release := hold(t, engine, 1)
			defer release()
			var callers sync.WaitGroup
			for i := range idempotency.DefaultMaxBatch {
				callers.Go(func() {
					text := fmt.Sprint(i)
					if i%50 == 7 {
						_, err := operation.Do(t.Context(), call(text, text), bad.text)
						if !bad.is(err) {
							t.Errorf("the bad call: error %v", err)
						}
						return
					}
					o, err := operation.Do(t.Context(), call(text, text), text)
					if err != nil || o.Replayed || o.Value.Text != text {
						t.Errorf("%s: %+v, %v", text, o, err)
					}
				})
			}
			queued(t, engine, idempotency.DefaultMaxBatch)
			release()
			callers.Wait()
			f.effects(idempotency.DefaultMaxBatch - 3)
			// No key was consumed.
			if o, err := operation.Do(t.Context(), call("7", "7"), "7"); err != nil || o.Replayed {
				t.Errorf("the corrected call: %+v, %v", o, err)
			}
		})
	}
}
