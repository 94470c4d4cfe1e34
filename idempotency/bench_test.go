package idempotency_test

import (
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/onceql/onceql/idempotency"
)

// BenchmarkDo runs first calls, each with a key of its own, and BenchmarkReplay
// the same call again and again. PostgreSQL runs without fsync, as in the tests.
func BenchmarkDo(b *testing.B) {
	f := newFixture(b)
	engine := f.engine(idempotency.Config{})
	var keys atomic.Int64
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := do(b.Context(), engine, strconv.FormatInt(keys.Add(1), 10), "a"); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkReplay(b *testing.B) {
	f := newFixture(b)
	engine := f.engine(idempotency.Config{})
	mustDo(b, engine, "k", "a")
	for b.Loop() {
		if o, err := do(b.Context(), engine, "k", "a"); err != nil || !o.Replayed {
			b.Fatalf("%+v, %v; want a replay", o, err)
		}
	}
}
