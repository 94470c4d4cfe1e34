package schedule_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/onceql/onceql/idempotency/internal/schedule"
)

// pauses lets the call that executes, or is looked up, come back again and again, and
// returns how long it was away each time.
func (f *fixture) pauses(queue *[]*work, n int, say func(*call)) (pauses []time.Duration) {
	f.t.Helper()
	w := f.next("work", queue, nil)
	for range n {
		say(w.calls[w.names[0]])
		w.end()
		began := time.Now()
		next := f.begun(queue)
		for ; len(next) == 0; next = f.begun(queue) {
			time.Sleep(time.Millisecond / 4)
		}
		pauses = append(pauses, time.Since(began))
		w = next[0]
	}
	f.mu.Lock()
	*queue = append(*queue, w)
	f.mu.Unlock()
	return pauses
}

func milliseconds(list ...float64) (pauses []time.Duration) {
	for _, n := range list {
		pauses = append(pauses, time.Duration(n*float64(time.Millisecond)))
	}
	return pauses
}

func TestAgain_AtOnceFirstAndThenWithPausesThatGrow(t *testing.T) {
	for name, test := range map[string]struct {
		jitter float64
		want   []time.Duration
	}{
		"without jitter": {1, milliseconds(0, 5, 10, 20, 40, 80, 160, 200, 200)},
		"with jitter":    {0.5, milliseconds(0, 2.5, 5, 10, 20, 40, 80, 100, 100)},
	} {
		t.Run(name, func(t *testing.T) {
			config := settings(1, 1)
			config.Jitter = func(d time.Duration) time.Duration { return time.Duration(test.jitter * float64(d)) }
			simulate(t, config, func(f *fixture) {
				c := f.send("a1")
				again := func(c *call) { c.Again(schedule.Together, errAgain) }
				if diff := cmp.Diff(test.want, f.pauses(&f.executions, len(test.want), again)); diff != "" {
					t.Errorf("pauses (-want +got):\n%s", diff)
				}
				f.execution("a1").resolve()
				c.hears()
			})
		})
	}
}

func TestAgain_TheNextLeaderBeginsAnew(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		f.send("a1")
		f.send("a1", payload("next"))
		again := func(c *call) { c.Again(schedule.Singly, errAgain) }
		f.pauses(&f.executions, 5, again)
		running := f.execution("a1")
		running.calls["a1"].Fail(errFailed)
		running.end()
		if diff := cmp.Diff(milliseconds(0, 5), f.pauses(&f.executions, 2, again)); diff != "" {
			t.Errorf("pauses (-want +got):\n%s", diff)
		}
	})
}

func TestAgain_TogetherOrSingly(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		batch := &schedule.Batch{Max: 9, Bytes: 100, Across: true}
		f.sendAll("a0", in(batch))
		running := f.execution("a0")
		callers := f.sendAll("a1 a2 a3", in(batch))
		next := f.send("a3", in(batch), payload("next"))
		running.resolve()
		running = f.execution("a1", "a2", "a3")
		running.calls["a1"].Again(schedule.Together, nil)
		running.calls["a2"].Again(schedule.Together, nil)
		running.calls["a3"].Again(schedule.Singly, nil)
		running.end()
		single := f.execution("a3")
		if !single.calls["a3"].Single {
			t.Error("a call that runs singly is not Single")
		}
		f.execution("a1", "a2").resolve()
		callers["a1"].hears()
		single.calls["a3"].Again(schedule.Together, nil)
		single.end()
		time.Sleep(5 * time.Millisecond)
		single = f.execution("a3")
		if !single.calls["a3"].Single {
			t.Error("a call that once runs singly goes back into a batch")
		}
		single.calls["a3"].Refuse(errRefused)
		single.end()
		callers["a3"].fails(errRefused)
		// The next leader's runs in a batch again.
		batched := f.execution("a3")
		if batched.calls["a3"].Single {
			t.Error("the next leader's call runs singly")
		}
		batched.resolve()
		next.hears()
	})
}

func TestAgain_WhatNobodyWaitsForEnds(t *testing.T) {
	for name, how := range map[string]schedule.How{
		"together": schedule.Together, "singly": schedule.Singly, "elsewhere": schedule.Elsewhere, "found": schedule.Found,
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, settings(1, 1), func(f *fixture) {
				c := f.send("a1")
				running := f.execution("a1")
				c.leave()
				running.calls["a1"].Again(how, errAgain)
				running.end()
				time.Sleep(time.Second)
				f.quiet()
				if stats := f.Stats(); stats.InFlight != 0 || stats.Queued != 0 {
					t.Errorf("%d calls are left, %d queued", stats.InFlight, stats.Queued)
				}
			})
		})
	}
}

func TestAgain_TheErrorIsHeardWhenTheWaitEndsFirst(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		c := f.send("a1", waiting(8*time.Millisecond))
		elsewhere := f.send("b1", waiting(9*time.Millisecond))
		running := f.execution("a1")
		running.calls["a1"].Again(schedule.Together, errAgain)
		running.end()
		running = f.execution("b1")
		running.calls["b1"].Again(schedule.Elsewhere, errAgain)
		running.end()
		f.execution("a1").calls["a1"].Again(schedule.Together, errFailed)
		time.Sleep(9 * time.Millisecond)
		c.gaveUp(8*time.Millisecond, errFailed)
		elsewhere.gaveUp(9*time.Millisecond, nil)
	})
}

func TestAgain_ThoseWhoHarmBatchesComeBackLater(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		batch := &schedule.Batch{Max: 9, Bytes: 100, Across: true}
		f.apart("a", batch)
		f.send("a1", in(batch))
		again := func(c *call) { c.Again(schedule.Singly, errAgain) }
		if diff := cmp.Diff(milliseconds(80, 160, 200), f.pauses(&f.executions, 3, again)); diff != "" {
			t.Errorf("pauses (-want +got):\n%s", diff)
		}
	})
}

func TestAgain_ElsewhereIsPolledWithPausesThatGrow(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		c := f.send("a1")
		running := f.execution("a1")
		running.calls["a1"].Again(schedule.Elsewhere, nil)
		running.end()
		f.quiet()
		time.Sleep(5 * time.Millisecond)
		missed := func(c *call) {
			if !c.Polled() {
				f.t.Error("a call that is executed elsewhere is not polled")
			}
			c.Missed(false)
		}
		if diff := cmp.Diff(milliseconds(10, 20, 40, 80, 160, 250, 250), f.pauses(&f.lookUps, 7, missed)); diff != "" {
			t.Errorf("pauses (-want +got):\n%s", diff)
		}
		asked := f.lookUp("a1")
		asked.calls["a1"].Missed(true) // Nobody executes it any more.
		asked.end()
		running = f.execution("a1")
		// Elsewhere once more: the pauses begin anew.
		running.calls["a1"].Again(schedule.Elsewhere, nil)
		running.end()
		f.quiet()
		time.Sleep(5 * time.Millisecond)
		asked = f.lookUp("a1")
		asked.calls["a1"].Found("outcome of a1")
		c.hears()
		asked.end()
	})
}

func TestAgain_FoundIsLookedUpAtOnce(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		c := f.send("a1")
		running := f.execution("a1")
		running.calls["a1"].Again(schedule.Found, errAgain)
		running.end()
		// The look-up says nothing: it is asked again later.
		f.lookUp("a1").end()
		f.quiet()
		time.Sleep(5 * time.Millisecond)
		asked := f.lookUp("a1")
		asked.calls["a1"].Found("outcome of a1")
		asked.end()
		c.hears()
	})
}
