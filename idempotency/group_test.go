package idempotency_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

// inScope is a call of that scope, whose payload is the text.
func inScope(scope, key, text string) idempotency.Call {
	c := call(key, text)
	c.Scope = scope
	return c
}

func TestBatch_GroupsOverAllScopesOrByScope(t *testing.T) {
	t.Parallel()
	for groupBy, want := range map[idempotency.GroupBy]int{idempotency.GroupByAll: 1, idempotency.GroupByScope: 3} {
		t.Run(fmt.Sprint(groupBy), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			engine := f.engine(idempotency.Config{Batches: 1, GroupBy: groupBy})
			var groups int
			operation := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), func(ctx context.Context, tx pgx.Tx, group []*pending) error {
				groups++
				scopes := map[string]bool{}
				for _, p := range group {
					scopes[p.Scope] = true
				}
				if groupBy == idempotency.GroupByScope && len(scopes) != 1 {
					t.Errorf("a group has the scopes %v, want one", scopes)
				}
				return writes(ctx, tx, group)
			})
			release := hold(t, engine, 1)
			defer release()
			// The same keys in every scope: each has an effect and a value of its own.
			var callers sync.WaitGroup
			for i := range 30 {
				callers.Go(func() {
					scope, key := fmt.Sprint("scope ", i%3), fmt.Sprint(i/3)
					text := scope + key
					o, err := operation.Do(t.Context(), inScope(scope, key, text), text)
					if err != nil || o.Replayed || o.Value.Text != text {
						t.Errorf("%s: %+v, %v", text, o, err)
					}
				})
			}
			queued(t, engine, 30)
			release()
			callers.Wait()
			if groups != want {
				t.Errorf("%d groups ran, want %d", groups, want)
			}
			f.effects(30)
		})
	}
}

func TestBatch_SlowGroupDelaysOnlyItself(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{Batches: 2})
	release := hold(t, engine, 1)
	defer release()
	operation := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), writes)
	for i := range 20 {
		text := fmt.Sprint(i)
		if _, err := operation.Do(t.Context(), call(text, text), text); err != nil {
			t.Error(err)
		}
	}
	f.effects(20)
}

// While a group is under way, fewer calls than it has wait for others to come: a
// commit for each of them would cost more.
func TestBatch_GroupWaitsToBeAsLargeAsTheOneUnderWay(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{Batches: 2}.WithMaxBatchDelay(time.Hour))
	sizes := make(chan int, 10)
	open := make(chan struct{})
	operation := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), func(ctx context.Context, tx pgx.Tx, group []*pending) error {
		sizes <- len(group)
		if group[0].Input == "held" {
			<-open
		}
		return writes(ctx, tx, group)
	})
	var callers sync.WaitGroup
	send := func(key, text string) {
		callers.Go(func() {
			if _, err := operation.Do(t.Context(), call(key, text), text); err != nil {
				t.Errorf("%s: %v", key, err)
			}
		})
	}
	size := func(want int) {
		t.Helper()
		if n := <-sizes; n != want {
			t.Errorf("a group of %d ran, want %d", n, want)
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
		t.Errorf("a group of %d ran beside one of 3", n)
	default:
	}
	send("3", "a")
	size(3)
	// What still waits when the group ends runs then.
	send("4", "a")
	queued(t, engine, 1)
	close(open)
	size(1)
	callers.Wait()
	f.effects(7)
}

func TestBatch_NoGroupHasAKeyTwice(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engines := []*idempotency.Engine{f.engine(idempotency.Config{}), f.engine(idempotency.Config{})}
	var operations []*idempotency.Batch[string, note]
	for _, engine := range engines {
		operations = append(operations, idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(),
			func(ctx context.Context, tx pgx.Tx, group []*pending) error {
				seen := map[string]bool{}
				for _, p := range group {
					if seen[p.Input] {
						t.Errorf("the key %s is twice in a group", p.Input)
					}
					seen[p.Input] = true
				}
				return writes(ctx, tx, group)
			}))
	}
	var callers sync.WaitGroup
	for i := range 600 {
		callers.Go(func() {
			text := fmt.Sprint(i % 20)
			o, err := operations[i/20%2].Do(t.Context(), call(text, text), text)
			if err != nil || o.Value.Text != text {
				t.Errorf("%s: %+v, %v", text, o, err)
			}
		})
	}
	callers.Wait()
	f.effects(20)
}
