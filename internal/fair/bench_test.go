package fair_test

import (
	"testing"

	"github.com/onceql/onceql/internal/fair"
)

func BenchmarkCap(b *testing.B) {
	c := fair.NewCap(fair.CapConfig{AtOnce: 8, Waiting: 4096, OfOne: 4096})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			leave, err := c.Enter(b.Context(), "a")
			if err != nil {
				b.Fatal(err)
			}
			leave()
		}
	})
}
