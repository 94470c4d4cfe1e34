package world_test

import (
	"flag"
	"os"
	"slices"
	"strings"
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
	t.Errorf("violation with seed %d: %s", p.seed, strings.Join(a.violations, "; "))
	p, a = shrink(t, p, a)
	t.Logf("the shortest plan that still fails:\n%v", p)
	t.Logf("it breaks: %s", strings.Join(a.violations, "\n"))
	t.Logf("its history:\n%s", a.text())
}

// shrink leaves out of the plan what a violation does not need.
func shrink(t *testing.T, p plan, a account) (plan, account) {
	for again := true; again; {
		again = false
		for _, less := range smaller(p) {
			if b := run(t, less); len(b.violations) > 0 {
				p, a, again = less, b, true
				break
			}
		}
	}
	return p, a
}

// smaller are plans with a part less each: first large parts, then single ones.
func smaller(p plan) []plan {
	var plans []plan
	for _, size := range []int{len(p.intents) / 2, 1} {
		for i := 0; size > 0 && i+size <= len(p.intents); i += size {
			less := p
			less.intents = slices.Delete(slices.Clone(p.intents), i, i+size)
			plans = append(plans, less)
		}
	}
	for i := range p.faults {
		less := p
		less.faults = slices.Delete(slices.Clone(p.faults), i, i+1)
		plans = append(plans, less)
	}
	for n, s := range p.servers {
		if len(s.kills)+len(s.deploys) > 0 {
			less := p
			less.servers = slices.Clone(p.servers)
			less.servers[n].kills, less.servers[n].deploys = nil, nil
			plans = append(plans, less)
		}
	}
	return plans
}
