package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/onceql/onceql/chaos/audit"
	"github.com/onceql/onceql/chaos/history"
	"github.com/onceql/onceql/chaos/load"
)

// A report is what a drill has shown.
type report struct {
	edge        string
	seed        uint64
	calls, keys int
	faults      []*fault
	// noticed are the tries that were not answered, or with an error to come again, except
	// of clients that left. unexplained are those at which no fault was under way, and lost
	// those with bodies that the edge does not keep.
	noticed, unexplained, lost []history.Call
	retries                    retries
	// unsettled is how many keys no retry had an answer for.
	unsettled  int
	violations []audit.Violation
	took       time.Duration
}

// attribute finds whose fault each error is that a client heard. Those of large bodies count
// apart where the edge has no buffer for them.
func (r *report) attribute(faults []*fault, calls *history.History, largeApart bool) {
	r.faults = faults
	for _, key := range calls.Keys() {
		for _, c := range calls.Of(key) {
			if c.Left || c.Variant == history.Forget || c.Outcome != history.Unknown && c.Outcome != history.Refused {
				continue
			}
			apart, explained := largeApart && strings.HasPrefix(key, load.Large), false
			for _, f := range faults {
				if f.from > c.Returned || f.until+settling < c.Called {
					continue
				}
				explained = true
				if apart {
					f.lost++
				} else {
					f.noticed++
				}
			}
			switch {
			case !explained:
				r.unexplained = append(r.unexplained, c)
			case apart:
				r.lost = append(r.lost, c)
			default:
				r.noticed = append(r.noticed, c)
			}
		}
	}
}

// count counts the faults of a kind and those that no client noticed.
func (r *report) count(kind string) (all, unnoticed int) {
	for _, f := range r.faults {
		if f.kind == kind {
			all++
			if f.noticed == 0 {
				unnoticed++
			}
		}
	}
	return all, unnoticed
}

// share is that of the faults that no client noticed, of those that an edge can heal.
func (r *report) share() (all, unnoticed int) {
	for _, kind := range healable {
		a, u := r.count(kind)
		all, unnoticed = all+a, unnoticed+u
	}
	return all, unnoticed
}

// healable are the kinds that an edge can heal.
var healable = []string{killed, drained, restarted, hurried, frozen}

// good says whether everything held, with that share of the faults unnoticed.
func (r *report) good(share float64) bool {
	all, unnoticed := r.share()
	return len(r.violations) == 0 && len(r.unexplained) == 0 && r.calls > 0 && all > 0 && r.retries.healed > 0 &&
		float64(unnoticed) >= share*float64(all)
}

// details are the violations and errors, for people.
func (r *report) details(text *strings.Builder, calls *history.History) {
	const most = 20
	for i, v := range r.violations {
		if i == most {
			fmt.Fprintf(text, "and %d violations more\n", len(r.violations)-most)
			break
		}
		fmt.Fprintf(text, "VIOLATION seed %d: %s\n%s", r.seed, v.What, calls.Text(v.Key))
	}
	for _, c := range r.unexplained[:min(most, len(r.unexplained))] {
		fmt.Fprintf(text, "an error without a fault: %s\n", c)
	}
	for _, c := range r.noticed[:min(most, len(r.noticed))] {
		fmt.Fprintf(text, "noticed: %s\n", c)
	}
}

// ofUpgrade is the report of an upgrade.
func (r *report) ofUpgrade(calls *history.History, replays map[string]int) string {
	var text strings.Builder
	r.details(&text, calls)
	steps, unnoticed := r.count(rolled)
	fmt.Fprintf(&text, "upgrade: %s: %d calls with %d keys, %d restarts of which %d unnoticed, %d replays by this build of the one before and %d the other way, "+
		"%d requests sent again by the edge, %d errors heard, %d without a restart, %d calls that failed after retries, %d violations, %.0f s, seed %d\n",
		r.edge, r.calls, r.keys, steps, unnoticed, replays[previous], replays[current],
		r.retries.all(), len(r.noticed)+len(r.lost), len(r.unexplained), r.unsettled, len(r.violations), r.took.Seconds(), r.seed)
	return text.String()
}

// text is the report of faults. Its last line has the figures.
func (r *report) text(calls *history.History) string {
	var text strings.Builder
	r.details(&text, calls)
	fmt.Fprintf(&text, "%-24s %6s %9s %8s %7s %7s\n", r.edge, "faults", "at a step", "unseen", "errors", "large")
	for _, kind := range append(slices.Clone(healable), frozenFor) {
		all, unnoticed := r.count(kind)
		stepped, errs, lost := 0, 0, 0
		for _, f := range r.faults {
			if f.kind == kind {
				errs, lost = errs+f.noticed, lost+f.lost
				if f.stepped {
					stepped++
				}
			}
		}
		fmt.Fprintf(&text, "%-24s %6d %9d %8d %7d %7d\n", kind, all, stepped, unnoticed, errs, lost)
	}
	all, unnoticed := r.share()
	beyond, _ := r.count(frozenFor)
	fmt.Fprintf(&text, "edge: %s: %d calls with %d keys, %d faults and %d beyond the wait, %d of %d (%.1f %%) unnoticed, "+
		"%d requests sent again by the edge (%d answered, %d left by their clients, %d failed), %d errors heard and %d of large bodies, %d without a fault, %d not healed by retries, %d violations, %.0f s, seed %d\n",
		r.edge, r.calls, r.keys, all, beyond, unnoticed, all, 100*float64(unnoticed)/float64(max(1, all)),
		r.retries.all(), r.retries.healed, r.retries.left, r.retries.failed, len(r.noticed), len(r.lost), len(r.unexplained), r.unsettled, len(r.violations), r.took.Seconds(), r.seed)
	return text.String()
}
