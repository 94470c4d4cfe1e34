package schedule_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/onceql/onceql/idempotency/internal/schedule"
)

var errAway = errors.New("away")

// away says that the database could not be reached, for an execution that then ends.
func (f *fixture) away(running *work) {
	f.Unreachable(errAway)
	for _, c := range running.calls {
		c.Again(schedule.Together, errAway)
	}
	running.end()
}

// tries returns who tries to reach the database, workers or look-ups.
func (f *fixture) tries() []*work {
	return append(f.begun(&f.executions), f.begun(&f.lookUps)...)
}

func TestGate_OneAtATimeTriesWithPausesThatGrow(t *testing.T) {
	simulate(t, settings(4, 4), func(f *fixture) {
		f.sendAll("a1 b1 c1 d1")
		f.send("e1", in(&schedule.Batch{Max: 9, Bytes: 9}))
		all := f.tries()
		if len(all) != 5 {
			f.t.Fatalf("%d calls run, want 5", len(all))
		}
		for _, running := range all {
			f.away(running)
		}
		if !f.Stats().Away {
			t.Error("the database is not said to be away")
		}
		var pauses []time.Duration
		for range 8 {
			last := time.Now()
			tries := f.tries()
			for ; len(tries) == 0; tries = f.tries() {
				time.Sleep(time.Millisecond)
			}
			pauses = append(pauses, time.Since(last))
			time.Sleep(100 * time.Millisecond) // Nobody else tries meanwhile.
			if tries = append(tries, f.tries()...); len(tries) != 1 {
				f.t.Fatalf("%d try", len(tries))
			}
			f.away(tries[0])
		}
		if diff := cmp.Diff(milliseconds(5, 10, 20, 40, 80, 160, 200, 200), pauses); diff != "" {
			t.Errorf("pauses (-want +got):\n%s", diff)
		}

		// One that reaches it lets everyone go on at once.
		time.Sleep(200 * time.Millisecond)
		tries := f.tries()
		f.Reached()
		if f.Stats().Away {
			t.Error("the database is said to be away")
		}
		for ; len(tries) > 0; tries = f.tries() {
			for _, w := range tries {
				w.resolve()
			}
		}
		for _, c := range f.callers {
			c.hears()
		}
	})
}

func TestGate_ThoseWhoWaitHearWhyTheirWaitWasInVain(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		c := f.send("a1", waiting(time.Second))
		f.away(f.execution("a1"))
		late := f.send("b1", waiting(500*time.Millisecond))
		for range 20 {
			time.Sleep(50 * time.Millisecond)
			for _, w := range f.tries() {
				f.away(w)
			}
		}
		late.gaveUp(500*time.Millisecond, errAway)
		c.gaveUp(time.Second, errAway)
		f.Reached()
	})
}

func TestGate_ATryThatSaysNeitherIsOver(t *testing.T) {
	config := settings(2, 1)
	config.LookUpAfter = time.Hour // The tries are the workers'.
	simulate(t, config, func(f *fixture) {
		callers := f.sendAll("a1 b1")
		f.away(f.execution("a1"))
		f.execution("b1").resolve()
		time.Sleep(5 * time.Millisecond)
		running := f.execution("a1")
		running.calls["a1"].Fail(errFailed)
		running.end()
		callers["a1"].fails(errFailed)
		c := f.send("c1")
		f.quiet()
		time.Sleep(10 * time.Millisecond)
		running = f.execution("c1")
		f.Reached()
		running.resolve()
		c.hears()
	})
}

func TestGate_ATryThatHangsHoldsUpNobodyForLongerThanASecond(t *testing.T) {
	config := settings(2, 1)
	config.LookUpAfter = time.Hour // The tries are the workers'.
	simulate(t, config, func(f *fixture) {
		f.sendAll("a1 b1")
		f.away(f.execution("a1"))
		f.execution("b1").resolve()
		time.Sleep(5 * time.Millisecond)
		hangs := f.execution("a1")
		f.send("c1")
		time.Sleep(time.Second - 1)
		f.quiet()
		time.Sleep(time.Nanosecond)
		if tries := f.tries(); len(tries) != 1 {
			t.Errorf("%d try after a second, want 1", len(tries))
		}
		hangs.resolve()
		f.Reached()
	})
}

func TestGate_TheEndOfATryThatHungSaysNothingOfTheNext(t *testing.T) {
	config := settings(2, 1)
	config.LookUpAfter = time.Hour // The tries are the workers'.
	simulate(t, config, func(f *fixture) {
		f.sendAll("a1 b1")
		f.away(f.execution("a1"))
		f.execution("b1").resolve()
		time.Sleep(5 * time.Millisecond)
		hangs := f.execution("a1")
		f.sendAll("c1 d1")
		time.Sleep(time.Second)
		next := f.execution("c1")
		f.away(hangs)
		// One at a time tries: the next one has its second.
		time.Sleep(time.Second - 1)
		f.quiet()
		f.Reached()
		next.resolve()
	})
}

func TestGate_TheEndOfATryThatReachedItSaysNothingOnceItIsShutAnew(t *testing.T) {
	for name, test := range map[string]struct{ before, after time.Duration }{
		"before the next try": {3 * time.Millisecond, 2 * time.Millisecond},
		"during the next try": {6 * time.Millisecond, 0},
	} {
		t.Run(name, func(t *testing.T) {
			config := settings(2, 1)
			config.LookUpAfter = time.Hour // The tries are the workers'.
			simulate(t, config, func(f *fixture) {
				f.sendAll("a1 b1")
				f.away(f.execution("a1"))
				f.execution("b1").resolve()
				time.Sleep(5 * time.Millisecond)
				reached := f.execution("a1")
				f.Reached()
				f.send("c1")
				f.away(f.execution("c1"))
				f.send("d1")
				time.Sleep(test.before)
				reached.resolve()
				// The pause is the first one's still, and one at a time tries.
				time.Sleep(test.after)
				next := f.execution("c1")
				time.Sleep(time.Second / 2)
				f.quiet()
				f.Reached()
				next.resolve()
			})
		})
	}
}

func TestGate_ALookUpTriesToo(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		f.send("a1")
		running := f.execution("a1")
		running.calls["a1"].Again(schedule.Found, errAgain)
		running.end()
		asked := f.lookUp("a1")
		f.send("b1")
		f.away(f.execution("b1"))
		asked.end()
		for range 20 {
			time.Sleep(5 * time.Millisecond)
			tries := f.tries()
			time.Sleep(5 * time.Millisecond)
			if tries = append(tries, f.tries()...); len(tries) > 1 {
				t.Errorf("%v and %v try", tries[0].names, tries[1].names)
			}
			for _, w := range tries {
				f.away(w)
			}
		}
		f.Reached()
	})
}

func TestGate_ReachedBySomeoneWhoBeganBeforeOpensIt(t *testing.T) {
	simulate(t, settings(2, 1), func(f *fixture) {
		f.sendAll("a1 b1")
		first, second := f.execution("a1"), f.execution("b1")
		f.away(first)
		f.quiet()
		f.Reached()
		f.execution("a1").resolve()
		second.resolve()
	})
}
