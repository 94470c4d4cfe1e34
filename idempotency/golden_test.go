package idempotency_test

import (
	"errors"
	"os"
	"testing"

	"github.com/onceql/onceql/idempotency"
)

// The rows are literal, not written by this build: a change of how keys, hashes or
// payloads are stored shows here.
func TestRow_GoldenOnesReplayOrAreUnavailable(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	rows, err := os.ReadFile("testdata/rows.sql")
	if err != nil {
		t.Fatal(err)
	}
	f.exec(string(rows))
	engine := f.engine(idempotency.Config{})
	want := map[string]error{
		"as today":           nil,
		"without request id": nil,
		"other notation":     nil,
		"extra members":      nil,
		"missing member":     idempotency.ErrUnavailable,
		"other type":         idempotency.ErrUnavailable,
		"no object":          idempotency.ErrUnavailable,
		"unknown version":    idempotency.ErrUnavailable,
	}
	for key, want := range want {
		o, err := run(t.Context(), engine, call(key, "a"), never(t))
		if !errors.Is(err, want) || err == nil && (!o.Replayed || o.Value != note{ID: 1, Text: "a"}) {
			t.Errorf("%s: %+v, %v; want %v", key, o, err, want)
		}
	}
	if n := f.count(`select count(*) from idempotency_keys`); n != len(want) {
		t.Errorf("%d keys, want the %d golden ones", n, len(want))
	}
}
