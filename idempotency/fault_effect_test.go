package idempotency_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

func TestBudget_EndsAnExecutionAndFreesTheKey(t *testing.T) {
	t.Parallel()
	for name, slow := range map[string]func(f *fixture) (slow effect, after func()){
		"a statement that sleeps": func(*fixture) (effect, func()) {
			return func(ctx context.Context, tx pgx.Tx) (note, error) {
				_, err := tx.Exec(ctx, `select pg_sleep(60)`)
				return note{}, err
			}, func() {}
		},
		"a row that another holds": func(f *fixture) (effect, func()) {
			f.exec(`insert into notes (text) values ('held')`)
			holder, err := f.pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := holder.Exec(t.Context(), `delete from notes`); err != nil {
				t.Fatal(err)
			}
			return func(ctx context.Context, tx pgx.Tx) (note, error) {
				_, err := tx.Exec(ctx, `update notes set text = 'x'`)
				return note{}, err
			}, func() { _ = holder.Commit(t.Context()) }
		},
		"an effect that waits for its context": func(*fixture) (effect, func()) {
			return func(ctx context.Context, _ pgx.Tx) (note, error) {
				<-ctx.Done()
				return note{Text: "late"}, nil
			}, func() {}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			engine := f.engine(idempotency.Config{Budget: 2 * time.Second, Wait: 20 * time.Second})
			effect, after := slow(f)
			_, err := run(t.Context(), engine, call("k", "a"), effect)
			wantError(t, err, idempotency.ErrUnavailable)
			after()
			if o := mustDo(t, engine, "k", "a"); o.Replayed {
				t.Errorf("the retry: %+v, want an execution", o)
			}
			f.effects(1)
		})
	}
}

func TestBudget_AbandonsAnEffectThatHeedsNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engineOn(f.open(f.url, 4), idempotency.Config{Budget: 2 * time.Second, Wait: 20 * time.Second})
	awake, after := make(chan struct{}), make(chan error, 1)
	_, err := run(t.Context(), engine, call("k", "a"), func(_ context.Context, tx pgx.Tx) (note, error) {
		<-awake
		_, err := tx.Exec(context.WithoutCancel(t.Context()), `insert into notes (text) values ('stray')`)
		after <- err
		return note{}, nil
	})
	wantError(t, err, idempotency.ErrUnavailable)
	// The pool gets another connection, and the key is free.
	if o := mustDo(t, engine, "k", "a"); o.Replayed {
		t.Errorf("the retry: %+v, want an execution", o)
	}
	close(awake)
	if err := <-after; err == nil {
		t.Error("an abandoned effect could still write")
	}
	f.effects(1)
}

// A crooked value can be encoded, but not decoded.
type crooked struct{ Value any }

func (crooked) MarshalJSON() ([]byte, error) { return []byte(`{"Value": 1}`), nil }
func (*crooked) UnmarshalJSON([]byte) error  { return errors.New("no") }

func TestPayload_ThatCanNotBeStoredRollsBack(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{})
	circle := map[string]any{}
	circle["circle"] = circle
	for name, value := range map[string]any{
		"a channel":   make(chan int),
		"not finite":  math.NaN(),
		"a circle":    circle,
		"a function":  func() {},
		"over 1 MiB":  strings.Repeat("a", idempotency.MaxPayload),
		"one way":     crooked{},
		"bad RawJSON": json.RawMessage(`{`),
	} {
		effect := func(ctx context.Context, tx pgx.Tx) (any, error) {
			_, err := write("a")(ctx, tx)
			return value, err
		}
		var err error
		if name == "one way" {
			_, err = run(t.Context(), engine, call("k", "a"), func(ctx context.Context, tx pgx.Tx) (crooked, error) {
				_, err := effect(ctx, tx)
				return crooked{}, err
			})
		} else {
			_, err = run(t.Context(), engine, call("k", "a"), effect)
		}
		if !errors.Is(err, idempotency.ErrPayload) {
			t.Errorf("%s: error %v, want ErrPayload", name, err)
		}
	}
	f.effects(0)
}

func TestPayload_IsTheSameInEveryAnswer(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{})
	type payload struct {
		Text    string
		Big     int64
		Exact   json.Number
		Float   float64
		At      time.Time
		Raw     json.RawMessage
		Missing *string `json:",omitempty"`
	}
	effect := func(context.Context, pgx.Tx) (payload, error) {
		return payload{
			Text:  "NUL \x00, astral 😀, <html>, not UTF-8: \xff",
			Big:   math.MaxInt64,
			Exact: "9007199254740993.10",
			Float: 5e-324,
			At:    time.Date(2026, 1, 31, 12, 0, 0, 123456789, time.FixedZone("", 3600)),
			Raw:   json.RawMessage(`{"b":1.0,"a":9007199254740993}`),
		}, nil
	}
	first, err := run(t.Context(), engine, call("k", "a"), effect)
	if err != nil {
		t.Fatal(err)
	}
	second, err := run(t.Context(), engine, call("k", "a"), effect)
	if err != nil {
		t.Fatal(err)
	}
	if !second.Replayed {
		t.Error("the second answer is no replay")
	}
	if diff := cmp.Diff(first.Value, second.Value); diff != "" {
		t.Errorf("the answers differ (-first +second):\n%s", diff)
	}
	if first.Value.Big != math.MaxInt64 || first.Value.Exact != "9007199254740993.10" || !strings.Contains(first.Value.Text, "\x00") ||
		string(first.Value.Raw) != `{"b":1.0,"a":9007199254740993}` {
		t.Errorf("the payload lost something: %+v", first.Value)
	}
}
