package world_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestSeeds_RepeatTheirHistory: without that a seed that fails tells nothing. No two
// goroutines that meet wake at one instant, so that their order is never the runtime's:
// with -race it chooses by chance.
func TestSeeds_RepeatTheirHistory(t *testing.T) {
	for seed := range uint64(200) {
		if one, other := run(t, draw(seed)).text(), run(t, draw(seed)).text(); one != other {
			t.Errorf("seed %d differs: %s", seed, difference(one, other))
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
