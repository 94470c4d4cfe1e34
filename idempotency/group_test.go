package idempotency_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

// inScope is a call of that scope, whose payload is the text.
func inScope(scope, key, text string) idempotency.Call {
	c := call(key, text)
	c.Scope = scope
	return c
}

func TestOperation_GroupsOverAllScopesOrByScope(t *testing.T) {
	t.Parallel()
	for groupBy, want := range map[idempotency.GroupBy]int{idempotency.GroupByAll: 1, idempotency.GroupByScope: 3} {
		t.Run(fmt.Sprint(groupBy), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			engine := w.engine(idempotency.Config{Groups: 1, GroupBy: groupBy})
			var groups int
			operation := idempotency.NewOperation(engine, "write", func(ctx context.Context, tx pgx.Tx, group []*pending) error {
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
			w.effects(30)
		})
	}
}

func TestOperation_SlowGroupDelaysOnlyItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{Groups: 2})
	release := hold(t, engine, 1)
	defer release()
	operation := idempotency.NewOperation(engine, "write", writes)
	for i := range 20 {
		text := fmt.Sprint(i)
		if _, err := operation.Do(t.Context(), call(text, text), text); err != nil {
			t.Error(err)
		}
	}
	w.effects(20)
}

func TestOperation_NoGroupHasAKeyTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engines := []*idempotency.Engine{w.engine(idempotency.Config{}), w.engine(idempotency.Config{})}
	var operations []*idempotency.Operation[string, note]
	for _, engine := range engines {
		operations = append(operations, idempotency.NewOperation(engine, "write",
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
	w.effects(20)
}
