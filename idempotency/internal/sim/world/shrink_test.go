package world_test

import (
	"slices"
	"testing"
)

// TestShrink_KeepsTheKind: a smaller plan that breaks another promise explains nothing.
func TestShrink_KeepsTheKind(t *testing.T) {
	t.Parallel()
	p := plan{servers: []serverPlan{{version: 1}}}
	for _, key := range []string{"left out", "lost", "double", "left out too"} {
		p.intents = append(p.intents, intentPlan{scope: "tenant", key: key})
	}
	// To leave the first half out leaves a violation, of the other kind.
	run := func(p plan) account {
		a := account{plan: p}
		for _, i := range p.intents {
			switch i.key {
			case "double":
				a.violate("%s has %d rows", i.key, 2)
			case "lost":
				a.violate("%s is lost", i.key)
			}
		}
		return a
	}
	p, a := shrink(p, run(p), run)
	if len(p.intents) != 1 || p.intents[0].key != "lost" || len(a.violations) != 1 || a.violations[0].text != "lost is lost" {
		t.Errorf("shrunk to %v, which breaks: %v", p, a.violations)
	}
}

// shrink leaves out of the plan what its first violation does not need: what run makes of
// a smaller plan has to have one of the same kind.
func shrink(p plan, a account, run func(plan) account) (plan, account) {
	kind := a.violations[0].kind
	for again := true; again; {
		again = false
		for _, less := range smaller(p) {
			if b := run(less); b.violations.has(kind) {
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
