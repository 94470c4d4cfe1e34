package idempotency_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

// A steps is a Tracer that notes what it is told. It follows calls whose context has a
// name.
type steps struct {
	mu    sync.Mutex
	noted []string
}

type (
	followedKey struct{}
	stepKey     struct{}
)

func (s *steps) note(parts ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noted = append(s.noted, strings.Join(parts, " "))
}

// take returns what was noted since it was last called.
func (s *steps) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	noted := s.noted
	s.noted = nil
	return noted
}

func (*steps) Follow(ctx context.Context) any {
	name, followed := ctx.Value(followedKey{}).(string)
	if !followed {
		return nil
	}
	return name
}

func (s *steps) Execution(_ context.Context, operation string, calls int, followed []any) idempotency.Execution {
	names := make([]string, len(followed))
	for i, one := range followed {
		names[i], _ = one.(string)
	}
	slices.Sort(names)
	s.note(operation, string(rune('0'+calls)), strings.Join(names, ","))
	return s
}

func (s *steps) Step(ctx context.Context, step idempotency.Step) (context.Context, func(error)) {
	return context.WithValue(ctx, stepKey{}, step), func(err error) {
		if err != nil {
			s.note(string(step), "fails")
		} else {
			s.note(string(step))
		}
	}
}

func (s *steps) End() { s.note("end") }

func following(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, followedKey{}, name)
}

func TestTracer_IsToldOfWhatServesACallThatItFollows(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	told := &steps{}
	engine := f.engine(idempotency.Config{Batches: 1, Tracer: told})
	inStep := func(ctx context.Context, tx pgx.Tx) (note, error) {
		if ctx.Value(stepKey{}) != idempotency.StepEffect {
			t.Errorf("the effect's context is of the step %v", ctx.Value(stepKey{}))
		}
		return write("a")(ctx, tx)
	}
	for _, test := range []struct {
		name string
		ctx  context.Context //nolint:containedctx // It is what varies.
		key  string
		run  effect
		want []string
	}{
		{"nothing follows it", t.Context(), "k0", write("a"), nil},
		{"it executes", following(t.Context(), "one"), "k", inStep, []string{"write 1 one", "claim", "effect", "commit", "end"}},
		{"it replays", following(t.Context(), "two"), "k", inStep, []string{"write 1 two", "claim", "end"}},
		{
			"it fails", following(t.Context(), "three"), "k3", func(context.Context, pgx.Tx) (note, error) { return note{}, errRefused },
			[]string{"write 1 three", "claim", "effect fails", "end"},
		},
		{"it has an error of the database", following(t.Context(), "four"), "k4", func(ctx context.Context, tx pgx.Tx) (note, error) {
			_, err := tx.Exec(ctx, `select 1/0`)
			return note{}, err
		}, []string{"write 1 four", "claim", "effect fails", "end"}},
	} {
		_, err := run(test.ctx, engine, call(test.key, "a"), test.run)
		if failed := len(test.want) == 4; failed != (err != nil) {
			t.Errorf("%s: %v", test.name, err)
		}
		// The last is told when the call is answered already.
		awaitEnd(t, told, test.want, test.name)
	}

	// Of a batch: the calls that are followed, and how many there are.
	batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), writes)
	release := hold(t, engine, 1)
	var callers sync.WaitGroup
	for key, text := range map[string]string{"b1": "a", "b2": "refuse", "b3": "c"} {
		ctx := t.Context()
		if key != "b3" {
			ctx = following(ctx, key)
		}
		callers.Go(func() {
			if _, err := batch.Do(ctx, call(key, text), text); (err != nil) != (text == "refuse") || err != nil && !errors.Is(err, errRefused) {
				t.Errorf("%s: %v", key, err)
			}
		})
	}
	queued(t, engine, 3)
	release()
	callers.Wait()
	awaitEnd(t, told, []string{"write 3 b1,b2", "claim", "effect", "commit", "end"}, "a batch")
}

func awaitEnd(t *testing.T, told *steps, want []string, name string) {
	t.Helper()
	var got []string
	eventually(t, "the end of "+name, func() bool {
		got = append(got, told.take()...)
		return len(got) >= len(want)
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}
