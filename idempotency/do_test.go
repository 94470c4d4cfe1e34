package idempotency_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

func TestDo_ExecutesOnceAndReplays(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{})

	first := mustDo(t, engine, "k", "a")
	if first.Replayed || first.RequestID != "request of a" || first.TraceID != traceID || first.SpanID != spanID || first.Value.Text != "a" {
		t.Errorf("first outcome %+v", first)
	}
	if got := first.ExpiresAt.Sub(first.ExecutedAt); got != 24*time.Hour {
		t.Errorf("the result is replayed for %s, want 24h", got)
	}
	again := call("k", "a")
	again.RequestID, again.TraceID, again.SpanID = "another request", strings.Repeat("1", 32), strings.Repeat("2", 16)
	second, err := run(t.Context(), engine, again, write("a"))
	if err != nil {
		t.Fatal(err)
	}
	want := first
	want.Replayed = true
	if diff := cmp.Diff(want, second); diff != "" {
		t.Errorf("replay differs (-first +second):\n%s", diff)
	}
	f.effects(1)
}

func TestDo_RefusesAnotherPayloadOrOperation(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{})
	mustDo(t, engine, "k", "a")

	_, err := do(t.Context(), engine, "k", "b")
	wantError(t, err, idempotency.ErrKeyReused)
	other := call("k", "a")
	other.Operation = "erase"
	_, err = run(t.Context(), engine, other, write("a"))
	wantError(t, err, idempotency.ErrKeyReused)
	f.effects(1)
}

func TestDo_KeysOfDifferentScopesNeverMeet(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{})
	mustDo(t, engine, "k", "a")
	for _, scope := range []string{"", "other", "tenan", "tenantk"} {
		c := call("k", "b")
		c.Scope = scope
		o, err := run(t.Context(), engine, c, write("b"))
		if err != nil || o.Replayed {
			t.Errorf("scope %q: %+v, %v", scope, o, err)
		}
	}
	f.effects(5)
}

func TestDo_RefusesCallsThatCanNotBeStored(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{})
	never := func(context.Context, pgx.Tx) (note, error) { panic("the effect ran") }
	for key, want := range map[string]error{
		"":                       idempotency.ErrKeyRequired,
		strings.Repeat("k", 256): idempotency.ErrKeyInvalid,
		" k":                     idempotency.ErrKeyInvalid,
		"k ":                     idempotency.ErrKeyInvalid,
		"k\n":                    idempotency.ErrKeyInvalid,
		"k\x00k":                 idempotency.ErrKeyInvalid,
		"schlüssel":              idempotency.ErrKeyInvalid,
		"\x7f":                   idempotency.ErrKeyInvalid,
	} {
		_, err := run(t.Context(), engine, call(key, "a"), never)
		wantError(t, err, want)
	}
	for name, change := range map[string]func(*idempotency.Call){
		"no operation":        func(c *idempotency.Call) { c.Operation = "" },
		"no fingerprint":      func(c *idempotency.Call) { c.Fingerprint = nil },
		"NUL in the scope":    func(c *idempotency.Call) { c.Scope = "a\x00" },
		"long scope":          func(c *idempotency.Call) { c.Scope = strings.Repeat("s", 256) },
		"request id no UTF-8": func(c *idempotency.Call) { c.RequestID = "\xff" },
		"a short trace id":    func(c *idempotency.Call) { c.TraceID = traceID[1:] },
		"upper-case trace id": func(c *idempotency.Call) { c.TraceID = strings.ToUpper(traceID) },
		"no trace id at all":  func(c *idempotency.Call) { c.TraceID = strings.Repeat("\n", 32) },
		"a long span id":      func(c *idempotency.Call) { c.SpanID = spanID + "0" },
		"a span of no trace":  func(c *idempotency.Call) { c.TraceID = "" },
		"unknown version": func(c *idempotency.Call) {
			c.Fingerprint = func(int16) ([32]byte, bool) { return [32]byte{}, false }
		},
	} {
		c := call("k", "a")
		change(&c)
		if _, err := run(t.Context(), engine, c, never); !errors.Is(err, idempotency.ErrCall) {
			t.Errorf("%s: error %v, want ErrCall", name, err)
		}
	}
	long := strings.Repeat("k", 255)
	mustDo(t, engine, long, "a")
	f.effects(1)
}

func TestDo_ConcurrentSameKeyRunsOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	pool := f.open(f.url, 8)
	engine := f.engineOn(pool, idempotency.Config{})
	replies := make([]reply, 500)
	var callers sync.WaitGroup
	for i := range replies {
		callers.Go(func() { replies[i].outcome, replies[i].err = do(t.Context(), engine, "k", "a") })
	}
	callers.Wait()
	executed := 0
	for _, r := range replies {
		if r.err != nil {
			t.Fatal(r.err)
		}
		if r.outcome.Value != replies[0].outcome.Value {
			t.Fatalf("payloads differ: %+v, %+v", r.outcome.Value, replies[0].outcome.Value)
		}
		if !r.outcome.Replayed {
			executed++
		}
	}
	if executed != 1 {
		t.Errorf("%d calls say that they executed, want 1", executed)
	}
	if conns := pool.Stat().NewConnsCount(); conns > 2 {
		t.Errorf("the burst took %d connections, want 2 at most", conns)
	}
	f.effects(1)
}

func TestDo_ConcurrentTwoPayloadsOneWins(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engines := []*idempotency.Engine{f.engine(idempotency.Config{}), f.engine(idempotency.Config{})}
	var mu sync.Mutex
	succeeded := map[string]int{}
	var callers sync.WaitGroup
	for i := range 200 {
		callers.Go(func() {
			text := []string{"a", "b"}[i%2]
			o, err := do(t.Context(), engines[i/2%2], "k", text)
			if errors.Is(err, idempotency.ErrKeyReused) {
				return
			}
			if err != nil || o.Value.Text != text {
				t.Errorf("%s: %+v, %v", text, o, err)
			}
			mu.Lock()
			defer mu.Unlock()
			succeeded[text]++
		})
	}
	callers.Wait()
	if len(succeeded) != 1 {
		t.Errorf("succeeded: %v, want one payload", succeeded)
	}
	f.effects(1)
}

func TestDo_ManyKeysOnTwoEngines(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engines := []*idempotency.Engine{f.engine(idempotency.Config{}), f.engine(idempotency.Config{})}
	var callers sync.WaitGroup
	for key := range 50 {
		for i := range 8 {
			callers.Go(func() {
				if _, err := do(t.Context(), engines[i%2], fmt.Sprint(key), "a"); err != nil {
					t.Error(err)
				}
			})
		}
	}
	callers.Wait()
	f.effects(50)
}

func TestDo_ErrorsConsumeNoKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{})
	refusal := errors.New("no")
	for name, failing := range map[string]effect{
		"an error":               func(context.Context, pgx.Tx) (note, error) { return note{}, refusal },
		"after a write":          func(ctx context.Context, tx pgx.Tx) (note, error) { write("x")(ctx, tx); return note{}, refusal },
		"a panic":                func(context.Context, pgx.Tx) (note, error) { panic("at the disco") },
		"the end of a Goroutine": func(context.Context, pgx.Tx) (note, error) { runtime.Goexit(); return note{}, nil },
	} {
		_, err := run(t.Context(), engine, call(name, "a"), failing)
		var panicked *idempotency.PanicError
		if !errors.Is(err, refusal) && !errors.As(err, &panicked) {
			t.Errorf("%s: error %v", name, err)
		}
		if panicked != nil && strings.Contains(err.Error(), "disco") {
			t.Errorf("%s: the error tells the panic's value: %v", name, err)
		}
		f.effects(0)
	}
	for _, name := range []string{"an error", "after a write", "a panic", "the end of a Goroutine"} {
		// Another payload: nothing of the first is left.
		if o := mustDo(t, engine, name, "b"); o.Replayed {
			t.Errorf("%s: the corrected call was replayed", name)
		}
	}
	f.effects(4)
}

func TestDo_TransactionIsTheEnginesToEnd(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{})
	for name, meddling := range map[string]effect{
		"commit": func(ctx context.Context, tx pgx.Tx) (note, error) {
			return note{}, tx.Commit(ctx)
		},
		"rollback": func(ctx context.Context, tx pgx.Tx) (note, error) {
			return note{}, tx.Rollback(ctx)
		},
		"rollback in SQL": func(ctx context.Context, tx pgx.Tx) (note, error) {
			_, err := tx.Exec(ctx, "rollback")
			return note{}, err
		},
		"swallowed error": func(ctx context.Context, tx pgx.Tx) (note, error) {
			_, _ = tx.Exec(ctx, "select 1/0")
			return note{}, nil
		},
	} {
		_, err := run(t.Context(), engine, call(name, "a"), meddling)
		if !errors.Is(err, idempotency.ErrTransaction) {
			t.Errorf("%s: error %v, want ErrTransaction", name, err)
		}
	}
	f.effects(0)

	var kept pgx.Tx
	if _, err := run(t.Context(), engine, call("kept", "a"), func(ctx context.Context, tx pgx.Tx) (note, error) {
		kept = tx
		nested, err := tx.Begin(ctx)
		if err != nil {
			return note{}, err
		}
		n, err := write("a")(ctx, nested)
		return n, errors.Join(err, nested.Commit(ctx))
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := kept.Exec(t.Context(), `insert into notes (text) values ('stray')`); !errors.Is(err, pgx.ErrTxClosed) {
		t.Errorf("using the transaction after the effect: %v, want ErrTxClosed", err)
	}
	f.effects(1)
}

func TestDo_EffectKeepsTheCallersValues(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{})
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "value")
	_, err := run(ctx, engine, call("k", "a"), func(ctx context.Context, tx pgx.Tx) (note, error) {
		if ctx.Value(key{}) != "value" {
			t.Error("the effect's context lacks the caller's value")
		}
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("the effect's context has no deadline")
		}
		return write("a")(ctx, tx)
	})
	if err != nil {
		t.Fatal(err)
	}
}
