package schedule_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/onceql/onceql/idempotency/internal/schedule"
)

// across is for batches of at most so many calls, over all scopes.
func across(most int) *schedule.Batch { return &schedule.Batch{Max: most, Bytes: 100, Across: true} }

// A step sends calls, or ends the batch of a call when it begins with "-", and says
// which batches begin then.
type step struct{ what, begins string }

// steps takes them in turn.
func (f *fixture) steps(batch *schedule.Batch, steps []step) {
	f.t.Helper()
	var running []*work
	for _, s := range steps {
		if name, ends := strings.CutPrefix(s.what, "-"); ends {
			i := slices.IndexFunc(running, func(w *work) bool { return w.calls[name] != nil })
			running[i].resolve()
		} else {
			f.sendAll(s.what, in(batch))
		}
		f.drainLookUps()
		var names []string
		for _, w := range f.begun(&f.executions) {
			running = append(running, w)
			names = append(names, strings.Join(w.names, " "))
		}
		slices.Sort(names) // Workers that begin at one moment have no order.
		if begun := strings.Join(names, ", "); begun != s.begins {
			f.t.Fatalf("after %q these batches begin: %q, want %q", s.what, begun, s.begins)
		}
	}
}

func TestShareAcross_OneScopeIsNotInAllBatchesWhileOthersAreThere(t *testing.T) {
	for name, test := range map[string]struct {
		workers, most int
		steps         []step
	}{
		"alone it may be": {3, 1, []step{{"a1 a2 a3 a4", "a1, a2, a3"}, {"-a1", "a4"}}},
		"another one runs": {3, 1, []step{
			{"b1", "b1"}, {"a1 a2 a3", "a1, a2"}, {"-b1", "a3"},
		}},
		"another one waits": {3, 1, []step{
			{"a1 a2 a3 a4 b1", "a1, a2, a3"}, {"-a1", "b1"}, {"-a2", "a4"},
		}},
		"another one comes back": {3, 1, []step{
			{"a1 a2 a3 a4", "a1, a2, a3"}, {"b1 b2", ""}, {"-a3", "b1"}, {"-b1", "b2"}, {"-b2", "a4"},
		}},
		"of two batches": {2, 1, []step{{"b1", "b1"}, {"a1 a2", "a1"}, {"-b1", "a2"}}},
		"of one batch":   {1, 1, []step{{"a1 a2 b1", "a1"}, {"-a1", "a2"}, {"-a2", "b1"}}},
		"after a moment in which it only waited": {3, 1, []step{
			{"b1 b2", "b1, b2"}, {"a1", "a1"}, {"a2 a3 a4", ""}, {"-a1", "a2"}, {"-b1", "a3"}, {"c1", ""}, {"-b2", "c1"},
		}},
		"after a batch that had two of its calls": {3, 2, []step{
			{"b1", "b1"},
			{"a1", "a1"},
			{"a2 a3", "a2 a3"},
			{"-a1", ""},
			{"-a2", ""},
			{"a4", "a4"},
			{"a5 a6", "a5 a6"},
			{"b2 a7", ""},
			{"-b1", "b2"},
		}},
		"the others' calls run without its own": {3, 2, []step{
			{"a1", "a1"}, {"a2", "a2"}, {"a3 b1 a4 b2", "b1"}, {"-b1", "b2"}, {"-a1", "a3 a4"},
		}},
		"nor are two scopes together": {3, 2, []step{
			{"a1", "a1"}, {"b1", "b1"}, {"a2 b2", "a2 b2"}, {"a3 b3 b4", ""}, {"-a1", "a3"}, {"-b1", "b3 b4"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, settings(1, test.workers), func(f *fixture) { f.steps(across(test.most), test.steps) })
		})
	}
}

func TestReserveAcross_ServesThoseWhoHaveNothingRunning(t *testing.T) {
	for name, test := range map[string]struct {
		most  int
		steps []step
	}{
		"one after the other": {1, []step{
			{"a1 a2 a3", "a1, a2"}, {"b1", "b1"}, {"b2 c1 c2", ""}, {"-b1", "c1"}, {"-c1", "b2"}, {"-b2", "c2"},
		}},
		"together": {2, []step{
			{"a1", "a1"}, {"a2", "a2"}, {"a3 a4", ""}, {"b1", "b1"}, {"b2 c1 d1 c2", ""}, {"-b1", "c1 d1"}, {"-c1", "b2 c2"},
		}},
		"not those who run": {1, []step{{"a1 b1 a2 b2", "a1, b1"}, {"-a1", "a2"}}},
		"it counts too":     {1, []step{{"a1 b1", "a1, b1"}, {"c1", "c1"}, {"d1 c2", ""}, {"-a1", "d1"}, {"-b1", "c2"}}},
	} {
		t.Run(name, func(t *testing.T) {
			config := settings(1, 2)
			config.Reserve = true
			simulate(t, config, func(f *fixture) { f.steps(across(test.most), test.steps) })
		})
	}
}

// What a scope has running in any batch counts, whichever operation it is of.
func TestReserveAcross_CountsAllBatchesOfAScope(t *testing.T) {
	for name, batch := range map[string]*schedule.Batch{
		"of another batch":  across(1),
		"of its own":        {Max: 1, Bytes: 100},
		"of one kept apart": nil,
	} {
		t.Run(name, func(t *testing.T) {
			config := settings(1, 2)
			config.Reserve = true
			simulate(t, config, func(f *fixture) {
				shared := across(1)
				if batch == nil {
					batch = across(1)
					f.apart("a", batch)
				}
				f.steps(batch, []step{{"a1", "a1"}})
				f.steps(shared, []step{{"b1", "b1"}, {"a2", ""}, {"c1", "c1"}})
			})
		})
	}
}
