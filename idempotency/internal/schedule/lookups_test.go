package schedule_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/onceql/onceql/idempotency/internal/schedule"
)

func TestLookUp_OfCallsThatWaitForAWorker(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		f.send("z0")
		running := f.execution("z0")
		early := f.sendAll("a1 b1")
		time.Sleep(3 * time.Millisecond)
		late := f.send("c1")
		time.Sleep(2*time.Millisecond - 1)
		f.quiet()
		time.Sleep(time.Nanosecond)
		asked := f.lookUp("a1", "b1")
		if asked.calls["a1"].Polled() {
			t.Error("a queued call is polled")
		}
		asked.calls["a1"].Found("outcome of a1")
		early["a1"].hears() // And not behind what runs.
		asked.calls["b1"].Missed(true)
		asked.end()
		time.Sleep(3 * time.Millisecond)
		f.lookUp("c1").end()
		// Each is looked up once.
		time.Sleep(time.Second)
		f.quiet()
		f.runs(running, "b1 c1")
		late.hears()
	})
}

func TestLookUp_NoneOfACallThatWasJustPolled(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		c := f.send("a1")
		running := f.execution("a1")
		running.calls["a1"].Again(schedule.Elsewhere, nil)
		running.end()
		f.send("z0")
		running = f.execution("z0")
		time.Sleep(5 * time.Millisecond)
		asked := f.lookUp("a1")
		asked.calls["a1"].Missed(true)
		asked.end()
		// It waits for the worker, and its outcome is known not to be there.
		time.Sleep(time.Second)
		f.quiet()
		f.runs(running, "a1")
		c.hears()
	})
}

func TestLookUp_NoneOfACallThatMeetsAFreeWorker(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		for _, options := range [][]option{nil, {in(&schedule.Batch{Max: 9, Bytes: 9})}} {
			f.send("a1", options...)
			running := f.execution("a1")
			time.Sleep(time.Second)
			f.quiet()
			running.resolve()
		}
	})
}

func TestLookUp_OfACallWhoseScopeHasItsShare(t *testing.T) {
	simulate(t, settings(4, 1), func(f *fixture) {
		f.sendAll("a1 a2 a3 a4")
		time.Sleep(5 * time.Millisecond)
		asked := f.lookUp("a4")
		asked.calls["a4"].Found("outcome of a4")
		asked.end()
	})
}

func TestLookUp_ThatBeganBeforeAWorkerTookTheCallDoesNotResolveIt(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		f.send("z0")
		running := f.execution("z0")
		c := f.send("a1")
		time.Sleep(5 * time.Millisecond)
		asked := f.lookUp("a1")
		running.resolve()
		running = f.execution("a1")
		asked.calls["a1"].Found("stale")
		c.waits()
		// Nor when the call is queued anew.
		f.send("b1")
		running.calls["a1"].Again(schedule.Together, errAgain)
		running.end()
		running = f.execution("b1")
		asked.calls["a1"].Found("stale")
		asked.calls["a1"].Missed(true)
		c.waits()
		asked.end()
		f.runs(running, "a1")
		c.hears()
	})
}

func TestLookUp_HasAtMost128AndForgetsNone(t *testing.T) {
	simulate(t, settings(200, 1), func(f *fixture) {
		// 300 calls are executed elsewhere, and the callers of the first 200 leave.
		var callers []*caller
		for i := range 300 {
			callers = append(callers, f.send(fmt.Sprintf("%c%d", 'a'+rune(i%10), i)))
			running := f.execution()
			for _, c := range running.calls {
				c.Again(schedule.Found, nil)
			}
			running.end()
		}
		first := f.lookUp(callers[0].name)
		for _, c := range callers[:200] {
			c.leave()
		}
		first.end()
		asked := f.lookUp()
		if len(asked.names) != 100 {
			t.Errorf("%d calls are looked up, want 100", len(asked.names))
		}
		for _, name := range asked.names {
			asked.calls[name].Found("outcome of " + name)
		}
		asked.end()
		for _, c := range callers[200:] {
			c.hears()
		}
	})
}

func TestLookUp_Of300TakesThreeTurns(t *testing.T) {
	config := settings(1, 1)
	simulate(t, config, func(f *fixture) {
		f.send("z0")
		f.execution("z0")
		for i := range 300 {
			f.send(fmt.Sprintf("%c%d", 'a'+rune(i%10), i))
		}
		time.Sleep(5 * time.Millisecond)
		for _, want := range []int{128, 128, 44} {
			asked := f.lookUp()
			if len(asked.names) != want {
				t.Errorf("%d calls are looked up, want %d", len(asked.names), want)
			}
			asked.end()
		}
		f.quiet()
	})
}

// replays lets look-ups find one call, so that most of the last were found.
func (f *fixture) replays() *work {
	f.t.Helper()
	f.send("z0")
	running := f.execution("z0")
	f.send("y0")
	time.Sleep(5 * time.Millisecond)
	asked := f.lookUp("y0")
	asked.calls["y0"].Found("outcome of y0")
	asked.end()
	return running
}

func TestLookUp_ComesFirstWhileMostAreFound(t *testing.T) {
	simulate(t, settings(2, 1), func(f *fixture) {
		f.sendAll("x0")
		other := f.execution("x0")
		running := f.replays()
		other.resolve()
		// One worker is free; the look-up is asked all the same, and finds it.
		found := f.send("a1")
		asked := f.lookUp("a1")
		asked.calls["a1"].Found("outcome of a1")
		asked.end()
		found.hears()
		// What it does not find goes to a worker.
		missed := f.sendAll("a2 b3")
		asked = f.lookUp("a2")
		f.quiet()
		asked.calls["a2"].Missed(false)
		second := f.execution("a2")
		asked.end()
		// Less than half was found: workers come first again.
		f.sendAll("c4")
		f.quiet()
		running.resolve()
		f.execution("b3").resolve()
		missed["b3"].hears()
		f.execution("c4").resolve()
		second.resolve()
	})
}

func TestLookUp_ThatHangsHoldsUpNoFreeWorker(t *testing.T) {
	simulate(t, settings(4, 1), func(f *fixture) {
		f.sendAll("v0 w0 x0")
		others := []*work{f.execution("v0"), f.execution("w0"), f.execution("x0")}
		running := f.replays()
		for _, other := range others {
			other.resolve()
		}
		asked := f.send("a1")
		hangs := f.lookUp("a1")
		behind := f.send("b1")
		time.Sleep(5*time.Millisecond - 1)
		f.quiet()
		time.Sleep(time.Nanosecond)
		for range 2 {
			f.execution().resolve()
		}
		asked.hears()
		behind.hears()
		// Nor those who come later.
		f.send("c1")
		f.execution("c1").resolve()
		hangs.end()
		running.resolve()
	})
}

func TestLookUp_IsNotDueForCallsInFlightElsewhereThatAWorkerTook(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		f.send("z0")
		running := f.execution("z0")
		f.send("a1")
		time.Sleep(4 * time.Millisecond)
		running.resolve()
		running = f.execution("a1")
		f.send("b1")
		time.Sleep(5*time.Millisecond - 1)
		f.quiet()
		time.Sleep(time.Nanosecond)
		asked := f.lookUp("b1")
		if slices.Contains(asked.names, "a1") {
			t.Error("a call that runs is looked up")
		}
		asked.end()
		running.resolve()
	})
}
