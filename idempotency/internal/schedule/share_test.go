package schedule_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/onceql/onceql/idempotency/internal/schedule"
)

// many sends so many calls of a scope.
func (f *fixture) many(scope string, n int, options ...option) {
	for i := range n {
		f.send(fmt.Sprintf("%s%d", scope, i), options...)
	}
}

// mixed sends so many calls of each of the scopes in turn.
func (f *fixture) mixed(scopes string, n int, options ...option) {
	for i := range n {
		for _, scope := range scopes {
			f.send(fmt.Sprintf("%c%d", scope, i), options...)
		}
	}
}

// runningAre checks how many executions have begun of each scope.
func (f *fixture) runningAre(want map[string]int) map[string][]*work {
	f.t.Helper()
	running := map[string][]*work{}
	f.drainLookUps()
	for _, w := range f.begun(&f.executions) {
		running[w.names[0][:1]] = append(running[w.names[0][:1]], w)
	}
	for scope, n := range want {
		if len(running[scope]) != n {
			f.t.Errorf("%d workers run %s, want %d", len(running[scope]), scope, n)
		}
	}
	if len(running) != len(want) {
		f.t.Errorf("workers run %d scopes, want %d", len(running), len(want))
	}
	return running
}

// drainLookUps ends the look-ups, which find nothing.
func (f *fixture) drainLookUps() {
	for asked := f.begun(&f.lookUps); len(asked) > 0; asked = f.begun(&f.lookUps) {
		for _, w := range asked {
			w.end()
		}
	}
}

func TestShare_OneScopeNeverHasAllWorkers(t *testing.T) {
	within := &schedule.Batch{Max: 1, Bytes: 100}
	for name, test := range map[string]struct {
		workers, want int
		options       []option
	}{
		"single calls: three of four": {8, 6, nil},
		"of three single workers":     {3, 2, nil},
		"of one single worker":        {1, 1, nil},
		"batches: all but one":        {3, 2, []option{in(within)}},
		"of one batch":                {1, 1, []option{in(within)}},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, settings(test.workers, test.workers), func(f *fixture) {
				f.many("a", 20, test.options...)
				f.runningAre(map[string]int{"a": test.want})
				f.drainLookUps()
				if test.want < test.workers {
					f.send("b1", test.options...)
					f.runningAre(map[string]int{"b": 1})
				}
			})
		})
	}
}

func TestShare_IsEqualWhileOthersWait(t *testing.T) {
	simulate(t, settings(8, 1), func(f *fixture) {
		f.many("a", 20)
		hogs := f.runningAre(map[string]int{"a": 6})["a"]
		f.mixed("bc", 20)
		f.runningAre(map[string]int{"b": 1, "c": 1})
		// As a's calls end, the others get what a has more than its share of three.
		for _, hog := range hogs[:3] {
			hog.resolve()
		}
		f.runningAre(map[string]int{"b": 2, "c": 1})
		hogs[3].resolve() // Now a has less than three.
		f.runningAre(map[string]int{"a": 1})
	})
}

func TestShare_IsOfWhatScopesLeaveThatOnlyRun(t *testing.T) {
	simulate(t, settings(12, 1), func(f *fixture) {
		others := f.sendAll("c1 d1 e1 f1")
		running := f.runningAre(map[string]int{"c": 1, "d": 1, "e": 1, "f": 1})
		f.mixed("ab", 10)
		f.runningAre(map[string]int{"a": 4, "b": 4})
		running["c"][0].resolve()
		running["d"][0].resolve()
		others["c1"].hears()
		// Both have more than a sixth of the workers, and no other scope waits.
		f.runningAre(map[string]int{"a": 1, "b": 1})
	})
}

func TestShare_GrowsWhenTheOthersLeave(t *testing.T) {
	simulate(t, settings(1, 3), func(f *fixture) {
		batch := &schedule.Batch{Max: 1, Bytes: 100, Across: true}
		f.apart("a", batch)
		f.apart("b", batch)
		f.send("x0", in(batch))
		other := f.execution("x0")
		f.send("a0", in(batch))
		f.execution("a0")
		f.send("a1", in(batch))
		waiting := f.send("b1", in(batch))
		other.resolve()
		f.quiet() // Half of the batches are of scopes that are kept apart.
		waiting.leave()
		f.execution("a1") // Nobody else wants the worker.
	})
}

func TestReserve_ServesThoseWhoHaveNothingRunning(t *testing.T) {
	for name, options := range map[string][]option{
		"single calls": nil,
		"batches":      {in(&schedule.Batch{Max: 1, Bytes: 100})},
	} {
		t.Run(name, func(t *testing.T) {
			config := settings(2, 2)
			config.Reserve = true
			simulate(t, config, func(f *fixture) {
				f.many("a", 5, options...)
				f.many("b", 5, options...)
				f.runningAre(map[string]int{"a": 1, "b": 1})
				f.send("c1", options...)
				f.send("c2", options...)
				reserve := f.runningAre(map[string]int{"c": 1})["c"]
				f.send("d1", options...)
				f.runningAre(map[string]int{})
				reserve[0].resolve()
				f.runningAre(map[string]int{"c": 1}) // c comes first again: it has nothing running.
			})
		})
	}
}

func TestReserve_RunsABatchAcrossScopesWhenThereIsNone(t *testing.T) {
	config := settings(1, 2)
	config.Reserve = true
	simulate(t, config, func(f *fixture) {
		within := &schedule.Batch{Max: 1, Bytes: 100}
		across := &schedule.Batch{Max: 1, Bytes: 100, Across: true}
		f.many("a", 3, in(within))
		f.many("b", 3, in(within))
		f.runningAre(map[string]int{"a": 1, "b": 1})
		f.send("x1", in(across))
		batch := f.runningAre(map[string]int{"x": 1})["x"]
		f.send("x2", in(across))
		time.Sleep(2 * time.Millisecond)
		f.runningAre(map[string]int{})
		batch[0].resolve()
		f.runningAre(map[string]int{"x": 1})
	})
}

// apart lets calls of the scope harm batches until it is kept apart.
func (f *fixture) apart(scope string, batch *schedule.Batch) {
	f.t.Helper()
	before := f.Stats().Apart
	for i := range 2 {
		c := f.send(fmt.Sprintf("%s harm %d", scope, i), in(batch))
		running := f.execution()
		for _, c := range running.calls {
			c.Blame()
			c.Blame() // A call is blamed once.
			c.Refuse(errRefused)
		}
		running.end()
		c.fails(errRefused)
		if now, want := f.Stats().Apart-before, i; now != want {
			f.t.Fatalf("after %d faults %d more scopes are apart, want %d", i+1, now, want)
		}
	}
}

func TestApart_AScopeThatHarmsBatchesHasItsOwn(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		batch := &schedule.Batch{Max: 9, Bytes: 100, Across: true}
		f.apart("a", batch)
		f.send("z0", in(batch))
		running := f.execution("z0")
		f.sendAll("a1 b1 a2 c1", in(batch))
		running.resolve()
		running = f.execution("a1", "a2")
		running.resolve()
		running = f.execution("b1", "c1")
		running.resolve()

		// Until five seconds after the last fault.
		time.Sleep(5 * time.Second)
		if apart := f.Stats().Apart; apart != 0 {
			t.Errorf("%d scopes are apart after five seconds", apart)
		}
		f.send("z0", in(batch))
		running = f.execution("z0")
		f.sendAll("a1 b1", in(batch))
		running.resolve()
		f.execution("a1", "b1").resolve()
	})
}

func TestApart_EachLeaderOfACallIsBlamedOnce(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		batch := &schedule.Batch{Max: 9, Bytes: 100, Across: true}
		f.send("a1", in(batch))
		f.send("a1", in(batch), payload("next"))
		for want := range 2 {
			running := f.execution("a1")
			if apart := f.Stats().Apart; apart != 0 {
				t.Errorf("after %d faults %d scopes are apart", want, apart)
			}
			running.calls["a1"].Blame()
			running.calls["a1"].Blame()
			running.calls["a1"].Refuse(errRefused)
			running.end()
		}
		if apart := f.Stats().Apart; apart != 1 {
			t.Errorf("after two faults %d scopes are apart, want 1", apart)
		}
	})
}

func TestApart_WhatWentWellBeforeDoesNotCount(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		batch := &schedule.Batch{Max: 9, Bytes: 100, Across: true}
		f.send("a0", in(batch))
		running := f.execution("a0")
		running.calls["a0"].Blame()
		running.resolve()
		for i := range 100 {
			f.send(fmt.Sprintf("a%d", i), in(batch))
			f.execution().resolve()
		}
		f.apart("a", batch)
	})
}

func TestApart_WhatGoesWellOutweighsAFewFaults(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		batch := &schedule.Batch{Max: 9, Bytes: 100, Across: true}
		for i := range 60 {
			f.send(fmt.Sprintf("a%d", i), in(batch))
			running := f.execution()
			for _, c := range running.calls {
				if i%12 == 0 {
					c.Blame()
				}
			}
			running.resolve()
		}
		if apart := f.Stats().Apart; apart != 0 {
			t.Error("a scope is apart that harms one batch in twelve")
		}
	})
}

func TestApart_TakesTurnsAndHasHalfOfTheBatches(t *testing.T) {
	simulate(t, settings(1, 4), func(f *fixture) {
		batch := &schedule.Batch{Max: 1, Bytes: 100, Across: true}
		for _, scope := range []string{"a", "b", "c"} {
			f.apart(scope, batch)
		}
		f.send("x0", in(batch))
		f.mixed("abc", 20, in(batch))
		f.many("x", 40, in(batch))
		var running []*work
		apart, turns := 0, ""
		for range 40 {
			f.drainLookUps()
			for _, w := range f.begun(&f.executions) {
				running = append(running, w)
				if scope := w.names[0][:1]; scope != "x" {
					apart++
					turns += scope
				}
			}
			if len(running) != 4 || apart > 2 {
				f.t.Fatalf("%d workers run, %d of them scopes that are kept apart", len(running), apart)
			}
			if running[0].names[0][:1] != "x" {
				apart--
			}
			running[0].resolve()
			running = running[1:]
		}
		if !strings.HasPrefix(strings.Repeat("abc", 20), turns) || len(turns) < 15 || len(turns) > 25 {
			t.Errorf("scopes that are kept apart ran in this order: %s", turns)
		}
	})
}

func TestApart_LeavesTheWorkersToOthersAsLongAsItHadThem(t *testing.T) {
	simulate(t, settings(1, 2), func(f *fixture) {
		batch := &schedule.Batch{Max: 1, Bytes: 100, Across: true}
		f.apart("a", batch)
		f.sendAll("a0 x0", in(batch))
		running, other := f.execution("a0"), f.execution("x0")
		time.Sleep(100 * time.Millisecond)
		f.send("a1", in(batch))
		running.resolve()
		time.Sleep(100*time.Millisecond - 1)
		f.runningAre(map[string]int{})
		time.Sleep(time.Nanosecond)
		f.runningAre(map[string]int{"a": 1})
		other.resolve()
	})
}

func TestApart_HasWhatNobodyElseWants(t *testing.T) {
	simulate(t, settings(1, 4), func(f *fixture) {
		batch := &schedule.Batch{Max: 1, Bytes: 100, Across: true}
		f.apart("a", batch)
		f.many("a", 9, in(batch))
		time.Sleep(time.Second)
		f.runningAre(map[string]int{"a": 3})
	})
}

func TestApart_NeverHasTheReserve(t *testing.T) {
	config := settings(1, 1)
	config.Reserve = true
	simulate(t, config, func(f *fixture) {
		batch := &schedule.Batch{Max: 1, Bytes: 100, Across: true}
		f.apart("a", batch)
		f.send("b1", in(&schedule.Batch{Max: 1, Bytes: 100}))
		f.runningAre(map[string]int{"b": 1})
		f.many("a", 3, in(batch))
		f.runningAre(map[string]int{})
	})
}
