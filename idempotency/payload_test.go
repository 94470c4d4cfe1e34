package idempotency_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

// Whatever encoding/json passes on unseen, Postgres may refuse. That is a defect
// of the payload, which no retry mends.
func TestPayload_ThatPostgresWouldRefuse(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{})
	for name, raw := range map[string]string{
		"not UTF-8":                  "\"\xff\"",
		"a surrogate in UTF-8":       "\"\xed\xa0\x80\"",
		"a member's name, not UTF-8": "{\"\xff\": 1}",
	} {
		runs := 0
		_, err := run(t.Context(), engine, call("k", "a"), func(ctx context.Context, tx pgx.Tx) (json.RawMessage, error) {
			runs++
			_, err := write("a")(ctx, tx)
			return json.RawMessage(raw), err
		})
		if !errors.Is(err, idempotency.ErrPayload) || runs != 1 {
			t.Errorf("%s: error %v after %d runs, want ErrPayload after one", name, err, runs)
		}
	}
	f.effects(0)
}

func TestPayload_UnusualOnesAreStored(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{})
	for name, raw := range map[string]string{
		"null":                `null`,
		"a lone surrogate":    `"\ud800"`,
		"NUL":                 `{"\u0000":"\u0000"}`,
		"a member twice":      `{"a":1,"a":2}`,
		"a huge number":       `1e999999`,
		"as large as allowed": `"` + strings.Repeat("a", idempotency.MaxPayload-2) + `"`,
		"as deep as can be":   strings.Repeat("[", 9999) + strings.Repeat("]", 9999),
	} {
		effect := func(ctx context.Context, tx pgx.Tx) (json.RawMessage, error) {
			_, err := write("a")(ctx, tx)
			return json.RawMessage(raw), err
		}
		for _, replayed := range []bool{false, true} {
			o, err := run(t.Context(), engine, call(name, "a"), effect)
			if err != nil || o.Replayed != replayed || string(o.Value) != raw {
				t.Errorf("%s, replayed %t: %.40q, %t, %v", name, replayed, o.Value, o.Replayed, err)
			}
		}
	}
}
