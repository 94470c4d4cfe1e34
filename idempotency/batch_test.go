package idempotency_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

type noteItem = idempotency.Item[string, note]

var errRefused = errors.New("refused")

// writes is the effect of many: one insert for all texts. It refuses "refuse".
func writes(ctx context.Context, tx pgx.Tx, items []*noteItem) error {
	var texts []string
	var accepted []*noteItem
	for _, item := range items {
		if item.Input == "refuse" {
			item.Fail(errRefused)
			continue
		}
		accepted = append(accepted, item)
		texts = append(texts, item.Input)
	}
	rows, _ := tx.Query(ctx, `insert into notes (text) select unnest($1::text[]) returning id, text`, texts)
	inserted, err := pgx.CollectRows(rows, pgx.RowToStructByPos[note])
	if err != nil {
		return err
	}
	for i, item := range accepted {
		item.Succeed(inserted[i])
	}
	return nil
}

// hold takes the workers for the engine's batches until the function it returns is called,
// so that calls made meanwhile form batches.
func hold(t *testing.T, engine *idempotency.Engine, batches int) (release func()) {
	t.Helper()
	entered, open := make(chan struct{}), make(chan struct{})
	blocker := idempotency.NewBatch(engine, "block", idempotency.AcrossScopes(),
		func(_ context.Context, _ pgx.Tx, items []*noteItem) error {
			entered <- struct{}{}
			<-open
			for _, item := range items {
				item.Fail(errRefused)
			}
			return nil
		})
	for i := range batches {
		go func() { _, _ = blocker.Do(t.Context(), call(fmt.Sprint("blocker ", i), "block"), "block") }()
		<-entered
	}
	return sync.OnceFunc(func() { close(open) })
}

// inScope is a call of that scope, whose payload is the text.
func inScope(scope, key, text string) idempotency.Call {
	c := call(key, text)
	c.Scope = scope
	return c
}

func TestBatch_TakesDistinctKeysAndReplays(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{Batches: 1})
	var transactions atomic.Int32
	batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), func(ctx context.Context, tx pgx.Tx, items []*noteItem) error {
		transactions.Add(1)
		return writes(ctx, tx, items)
	})
	release := hold(t, engine, 1)
	defer release()
	for round, replayed := range []bool{false, true} {
		var callers sync.WaitGroup
		for i := range 100 {
			callers.Go(func() {
				text := fmt.Sprint(i)
				o, err := batch.Do(t.Context(), call(text, text), text)
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

func TestBatch_BadCallsFailSingly(t *testing.T) {
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
			batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), func(ctx context.Context, tx pgx.Tx, items []*noteItem) error {
				for _, item := range items {
					switch item.Input {
					case "panic":
						panic("at the disco")
					case "fail":
						return errRefused
					case "swallow":
						_, _ = tx.Exec(ctx, `select 1/0`)
						return nil
					}
				}
				for _, item := range items {
					if item.Input == "huge" {
						item.Succeed(note{Text: strings.Repeat("a", idempotency.MaxPayload)})
					}
				}
				return writes(ctx, tx, items)
			})
			release := hold(t, engine, 1)
			defer release()
			var callers sync.WaitGroup
			for i := range idempotency.DefaultMaxBatch {
				callers.Go(func() {
					text := fmt.Sprint(i)
					if i%50 == 7 {
						_, err := batch.Do(t.Context(), call(text, text), bad.text)
						if !bad.is(err) {
							t.Errorf("the bad call: error %v", err)
						}
						return
					}
					o, err := batch.Do(t.Context(), call(text, text), text)
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
			if o, err := batch.Do(t.Context(), call("7", "7"), "7"); err != nil || o.Replayed {
				t.Errorf("the corrected call: %+v, %v", o, err)
			}
		})
	}
}

func TestBatch_SpansAllScopesOrOne(t *testing.T) {
	t.Parallel()
	for groupBy, want := range map[idempotency.GroupBy]int{idempotency.GroupByAll: 1, idempotency.GroupByScope: 3} {
		t.Run(fmt.Sprint(groupBy), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			engine := f.engine(idempotency.Config{Batches: 1, GroupBy: groupBy})
			var batches int
			batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), func(ctx context.Context, tx pgx.Tx, items []*noteItem) error {
				batches++
				scopes := map[string]bool{}
				for _, item := range items {
					scopes[item.Scope] = true
				}
				if groupBy == idempotency.GroupByScope && len(scopes) != 1 {
					t.Errorf("a batch has the scopes %v, want one", scopes)
				}
				return writes(ctx, tx, items)
			})
			release := hold(t, engine, 1)
			defer release()
			// The same keys in every scope: each has an effect and a value of its own.
			var callers sync.WaitGroup
			for i := range 30 {
				callers.Go(func() {
					scope, key := fmt.Sprint("scope ", i%3), fmt.Sprint(i/3)
					text := scope + key
					o, err := batch.Do(t.Context(), inScope(scope, key, text), text)
					if err != nil || o.Replayed || o.Value.Text != text {
						t.Errorf("%s: %+v, %v", text, o, err)
					}
				})
			}
			queued(t, engine, 30)
			release()
			callers.Wait()
			if batches != want {
				t.Errorf("%d batches ran, want %d", batches, want)
			}
			f.effects(30)
		})
	}
}

func TestBatch_SlowOneDelaysOnlyItself(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{Batches: 2})
	release := hold(t, engine, 1)
	defer release()
	batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), writes)
	for i := range 20 {
		text := fmt.Sprint(i)
		if _, err := batch.Do(t.Context(), call(text, text), text); err != nil {
			t.Error(err)
		}
	}
	f.effects(20)
}

// While a batch is under way, fewer calls than it has wait for others to come: a
// commit for each of them would cost more.
func TestBatch_WaitsToBeAsLargeAsTheOneUnderWay(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{Batches: 2}.WithMaxBatchDelay(time.Hour))
	sizes := make(chan int, 10)
	open := make(chan struct{})
	batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), func(ctx context.Context, tx pgx.Tx, items []*noteItem) error {
		sizes <- len(items)
		if items[0].Input == "held" {
			<-open
		}
		return writes(ctx, tx, items)
	})
	var callers sync.WaitGroup
	send := func(key, text string) {
		callers.Go(func() {
			if _, err := batch.Do(t.Context(), call(key, text), text); err != nil {
				t.Errorf("%s: %v", key, err)
			}
		})
	}
	size := func(want int) {
		t.Helper()
		if n := <-sizes; n != want {
			t.Errorf("a batch of %d ran, want %d", n, want)
		}
	}
	release := hold(t, engine, 2)
	for i := range 3 {
		send(fmt.Sprint("held ", i), "held")
	}
	queued(t, engine, 3)
	release()
	size(3)
	send("1", "a")
	send("2", "a")
	queued(t, engine, 2)
	select {
	case n := <-sizes:
		t.Errorf("a batch of %d ran beside one of 3", n)
	default:
	}
	send("3", "a")
	size(3)
	// What still waits when the batch ends runs then.
	send("4", "a")
	queued(t, engine, 1)
	close(open)
	size(1)
	callers.Wait()
	f.effects(7)
}

func TestBatch_HasNoKeyTwice(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engines := []*idempotency.Engine{f.engine(idempotency.Config{}), f.engine(idempotency.Config{})}
	var writers []*idempotency.Batch[string, note]
	for _, engine := range engines {
		writers = append(writers, idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(),
			func(ctx context.Context, tx pgx.Tx, items []*noteItem) error {
				seen := map[string]bool{}
				for _, item := range items {
					if seen[item.Input] {
						t.Errorf("the key %s is twice in a batch", item.Input)
					}
					seen[item.Input] = true
				}
				return writes(ctx, tx, items)
			}))
	}
	var callers sync.WaitGroup
	for i := range 600 {
		callers.Go(func() {
			text := fmt.Sprint(i % 20)
			o, err := writers[i/20%2].Do(t.Context(), call(text, text), text)
			if err != nil || o.Value.Text != text {
				t.Errorf("%s: %+v, %v", text, o, err)
			}
		})
	}
	callers.Wait()
	f.effects(20)
}
