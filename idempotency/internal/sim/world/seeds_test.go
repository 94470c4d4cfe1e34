package world_test

import (
	"flag"
	"os"
	"testing"
)

// The worlds that TestSeeds runs: as many as seeds, from the seed first on, every
// step-th.
var (
	seeds = flag.Int("seeds", 60, "how many worlds TestSeeds runs")
	first = flag.Uint64("first", 1, "the seed of the first one")
	step  = flag.Uint64("step", 1, "the distance between two seeds")
	// A process has one thread, so the machine's processors have one process each.
	figures = flag.String("figures", "", "the file that the counts are written to, a name and a number a line")
)

// TestSeeds runs worlds, and fails over the first that breaks a promise: it prints the
// shortest plan that still does, and the history.
func TestSeeds(t *testing.T) {
	total := tally{}
	for n := range *seeds {
		p := draw(*first + uint64(n)**step)
		a := run(t, p)
		total.add(a)
		if len(a.violations) > 0 {
			report(t, p, a)
			break
		}
	}
	t.Log(total)
	if *figures != "" {
		if err := os.WriteFile(*figures, []byte(total.lines()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// report prints the shortest plan that breaks a promise, and what happened then.
func report(t *testing.T, p plan, a account) {
	t.Errorf("violation with seed %d: %v", p.seed, a.violations)
	p, a = shrink(p, a, func(less plan) account { return run(t, less) })
	t.Logf("the shortest plan that still fails:\n%v", p)
	t.Logf("it breaks: %v", a.violations)
	t.Logf("its history:\n%s", a.text())
}
