//go:build !race

package world_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestSeeds_RepeatTheirHistory: without that a seed that fails tells nothing. Where the
// machine takes the processor away for more than 10 ms, the runtime lets another
// goroutine go first, so a seed has several tries. The race detector makes the runtime
// choose by chance, always; so this runs without it, in `make sim`.
func TestSeeds_RepeatTheirHistory(t *testing.T) {
	for seed := range uint64(200) {
		for try := 1; ; try++ {
			one, other := run(t, draw(seed)).text(), run(t, draw(seed)).text()
			if one == other {
				break
			}
			if try == 5 {
				t.Fatalf("seed %d differs: %s", seed, difference(one, other))
			}
		}
	}
}

func difference(one, other string) string {
	before, after := strings.Split(one, "\n"), strings.Split(other, "\n")
	for n := range min(len(before), len(after)) {
		if before[n] != after[n] {
			return fmt.Sprintf("line %d\n%s\n%s", n, before[n], after[n])
		}
	}
	return fmt.Sprintf("%d lines, and then %d", len(before), len(after))
}
