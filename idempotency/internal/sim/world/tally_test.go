package world_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/onceql/onceql/idempotency/internal/sim"
)

// A tally counts what happened in all worlds, by name.
type tally map[string]int

func (t tally) add(a account) {
	t["worlds"]++
	if len(a.violations) > 0 {
		t["violations"]++
	}
	for _, at := range a.attempts {
		t["requests"]++
		switch at.heard {
		case success:
			t["outcomes"]++
			if at.replayed {
				t["replays"]++
			}
		case refused:
			t["refused"]++
		case unknown:
			t["unknown"]++
		}
	}
	for _, e := range a.history {
		if strings.HasPrefix(e.What, "commit unknown") {
			t["unknown commits"]++
		}
		if what, fault := strings.CutPrefix(e.What, "fault "); fault || e.Who == "fault" {
			t["faults"]++
			t["fault "+actionOf(what)]++
		}
	}
}

// actionOf is what the fault with the text does.
func actionOf(text string) string {
	_, do, _ := strings.Cut(text, ": ")
	for _, action := range actions {
		if strings.HasPrefix(do, string(action)) {
			return string(action)
		}
	}
	return text
}

// actions are all, the longer names first.
var actions = append([]sim.Action{
	sim.FreezeNode, sim.Crash, sim.PromoteUnfenced, sim.Promote, sim.Detach, sim.Lie, sim.Shift,
	sim.Asynchronous, sim.Synchronous,
}, connActions...)

// lines are the counts, a line each.
func (t tally) lines() string {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(t)) {
		fmt.Fprintf(&text, "%d %s\n", t[name], name)
	}
	return text.String()
}

func (t tally) String() string {
	return strings.ReplaceAll(strings.TrimSuffix(t.lines(), "\n"), "\n", ", ")
}
