package schedule_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/onceql/onceql/idempotency/internal/schedule"
)

func TestDo_OneExecutionAnswersAllCallers(t *testing.T) {
	simulate(t, settings(2, 1), func(f *fixture) {
		leader := f.send("a1")
		running := f.execution("a1")
		followers := []*caller{f.send("a1"), f.send("a1", payload("other")), f.send("a1", in(&schedule.Batch{Max: 2, Bytes: 10}))}
		if waiting := f.Waiting(schedule.ID{Scope: "a", Key: "1"}); waiting != 4 {
			t.Errorf("%d wait, want 4", waiting)
		}
		f.quiet()
		running.resolve()
		leader.hears()
		for _, follower := range followers {
			follower.hears()
		}
		if stats := f.Stats(); stats.InFlight != 0 || stats.Waiting != 0 {
			t.Errorf("%d calls and %d callers are left", stats.InFlight, stats.Waiting)
		}

		// The next caller starts anew.
		next := f.send("a1")
		f.execution("a1").resolve()
		next.hears()
	})
}

func TestDo_ScopesAndKeysAreApart(t *testing.T) {
	simulate(t, settings(4, 1), func(f *fixture) {
		f.sendAll("a1 a2 b1")
		f.execution("a1")
		f.execution("a2")
		f.execution("b1")
	})
}

func TestRefuse_IsHeardByEqualFollowersOnly(t *testing.T) {
	simulate(t, settings(2, 1), func(f *fixture) {
		leader, equal := f.send("a1", payload("x")), f.send("a1", payload("x"))
		other, equalToOther := f.send("a1", payload("y")), f.send("a1", payload("y"))
		running := f.execution("a1")
		late := f.send("a1", payload("x"))
		running.calls["a1"].Refuse(errRefused)
		running.end()
		leader.fails(errRefused)
		equal.fails(errRefused)
		late.fails(errRefused)
		other.waits()
		next := f.execution("a1")
		if got := next.calls["a1"].Leader.payload; got != "y" {
			t.Errorf("%q leads, want the next one", got)
		}
		next.resolve()
		other.hears()
		equalToOther.hears()
	})
}

func TestFail_IsHeardByTheLeaderAndTheNextLeads(t *testing.T) {
	simulate(t, settings(2, 1), func(f *fixture) {
		leader, gone, follower := f.send("a1"), f.send("a1"), f.send("a1", payload("third"))
		running := f.execution("a1")
		gone.leave()
		running.calls["a1"].Fail(errFailed)
		running.end()
		leader.fails(errFailed)
		next := f.execution("a1")
		if got := next.calls["a1"].Leader.payload; got != "third" {
			t.Errorf("%q leads, want the next one that is still there", got)
		}
		next.calls["a1"].Fail(errFailed)
		next.end()
		follower.fails(errFailed)
		f.quiet()
	})
}

func TestFail_OfALeaderThatLeftIsHeardByNobody(t *testing.T) {
	for name, say := range map[string]func(*call){
		"Fail":   func(c *call) { c.Fail(errFailed) },
		"Refuse": func(c *call) { c.Refuse(errRefused) },
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, settings(1, 1), func(f *fixture) {
				leader := f.send("a1", payload("x"))
				follower := f.send("a1", payload("y"))
				running := f.execution("a1")
				leader.leave()
				say(running.calls["a1"])
				running.end()
				follower.waits()
				f.execution("a1").resolve()
				follower.hears()
			})
		})
	}
}

func TestLeave_WhileTheCallRuns(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		leader := f.send("a1")
		running := f.execution("a1")
		leader.leave()
		// What runs is not interrupted, and whoever comes now joins it.
		follower := f.send("a1")
		running.resolve()
		follower.hears()
		f.quiet()
	})
}

func TestLeave_WhileTheCallIsQueued(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		f.send("a0")
		running := f.execution("a0")
		dropped, leader, follower := f.send("a1"), f.send("a2"), f.send("a2")
		last := f.send("a3")
		dropped.leave()
		leader.leave()
		if queued := f.Stats().Queued; queued != 2 {
			t.Errorf("%d calls are queued, want 2", queued)
		}
		running.resolve()
		// Nobody waits for a1. a2 has kept its turn.
		f.execution("a2").resolve()
		follower.hears()
		f.execution("a3").resolve()
		last.hears()
	})
}

func TestLeave_TheNextLeaderMayBelongIntoAnotherLane(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		batch := &schedule.Batch{Max: 2, Bytes: 10}
		f.send("a0")
		f.execution("a0")
		leader, follower := f.send("a1"), f.send("a1", in(batch))
		f.quiet()
		leader.leave()
		f.execution("a1").resolve()
		follower.hears()
		if taken := f.Stats().Batched.Calls; taken != 1 {
			t.Errorf("%d calls ran in batches, want 1", taken)
		}
	})
}

func TestLeave_TheNextLeadersPayloadMayBeLarger(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		batch := &schedule.Batch{Max: 9, Bytes: 10}
		f.send("a0", in(batch))
		running := f.execution("a0")
		leader, follower := f.send("a1", in(batch), sized(1)), f.send("a1", in(batch), sized(6))
		other := f.send("a2", in(batch), sized(5))
		leader.leave()
		running.resolve()
		f.execution("a2").resolve() // Together they are too large.
		f.execution("a1").resolve()
		follower.hears()
		other.hears()
	})
}

func TestLeave_AtTheMomentThatTheDelayEnds(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		for range 50 { // Either may come first.
			c := f.send("a1", waiting(5*time.Millisecond))
			running := f.execution("a1")
			running.calls["a1"].Again(schedule.Elsewhere, nil)
			running.end()
			time.Sleep(5 * time.Millisecond)
			c.gaveUp(5*time.Millisecond, nil)
			f.drainLookUps()
			// What nobody waits for any more is not looked up again.
			time.Sleep(time.Second)
			f.quiet()
		}
	})
}

func TestLeave_WhileTheCallIsDelayed(t *testing.T) {
	for _, how := range []schedule.How{schedule.Together, schedule.Elsewhere} {
		simulateAgain(t, how, func(f *fixture, leader, follower *caller) {
			leader.leave()
			follower.waits()
			follower.leave()
			if stats := f.Stats(); stats.InFlight != 0 {
				t.Errorf("%d calls are left", stats.InFlight)
			}
			// The key is free at once, and the old timer does nothing to its next call.
			next := f.send("a1")
			running := f.execution("a1")
			time.Sleep(time.Second)
			f.quiet()
			running.resolve()
			next.hears()
		})
	}
}

// simulateAgain has a call with two callers that has come back, and is delayed.
func simulateAgain(t *testing.T, how schedule.How, body func(f *fixture, leader, follower *caller)) {
	t.Run(map[schedule.How]string{schedule.Together: "to run", schedule.Elsewhere: "to be looked up"}[how], func(t *testing.T) {
		simulate(t, settings(1, 1), func(f *fixture) {
			leader, follower := f.send("a1"), f.send("a1")
			if how == schedule.Together { // The first time is at once.
				running := f.execution("a1")
				running.calls["a1"].Again(how, errAgain)
				running.end()
			}
			running := f.execution("a1")
			running.calls["a1"].Again(how, errAgain)
			running.end()
			f.quiet()
			body(f, leader, follower)
		})
	})
}

func TestLeave_WhileTheCallIsLookedUp(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		leader, follower := f.send("a1"), f.send("a1")
		running := f.execution("a1")
		running.calls["a1"].Again(schedule.Found, errAgain)
		running.end()
		asked := f.lookUp("a1")
		leader.leave()
		follower.leave()
		next := f.send("a1")
		running = f.execution("a1")
		// What the look-up says concerns a call that is over.
		asked.calls["a1"].Found("too late")
		asked.calls["a1"].Missed(true)
		asked.end()
		next.waits()
		running.resolve()
		next.hears()
	})
}

func TestDo_TheWaitAndTheContextBoundTheCallersWaitAlone(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		impatient := f.send("a1", waiting(time.Second))
		running := f.execution("a1")
		patient := f.send("a1", waiting(time.Minute))
		time.Sleep(time.Second)
		impatient.gaveUp(time.Second, nil)
		patient.waits()
		running.calls["a1"].Again(schedule.Together, errAgain)
		running.end()
		f.execution("a1")
		time.Sleep(time.Minute)
		patient.gaveUp(time.Minute, errAgain)
	})
}

func TestDo_AnAnswerOfTheSameMomentWins(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		for range 50 {
			c := f.send("a1", waiting(time.Second))
			running := f.execution("a1")
			time.AfterFunc(time.Second, func() { running.calls["a1"].Resolve("outcome of a1") })
			time.Sleep(time.Second)
			synctest.Wait()
			running.end()
			if c.answered(); c.err == nil {
				c.hears()
			} else {
				c.gaveUp(time.Second, nil)
			}
		}
	})
}

func TestDo_AContextThatEndedIsTheCauseThoughTheWaitIsOverToo(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		f.send("a1", waiting(-time.Second)).gaveUp(0, nil)
		for range 50 {
			f.send("a2", waiting(-time.Second), gone).leave()
		}
	})
}

func TestCall_SaysNothingTwice(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		f.send("b1")
		blocking := f.execution("b1")
		first, second := f.send("a1", in(&schedule.Batch{Max: 9, Bytes: 9})), f.send("a1")
		running := f.execution("a1")
		c := running.calls["a1"]
		c.Fail(errFailed)
		first.fails(errFailed)
		// The call is queued for its next leader. It is not the worker's any more.
		c.Fail(errFailed)
		c.Refuse(errRefused)
		c.Again(schedule.Together, errAgain)
		c.Resolve("too late")
		second.waits()
		running.end()
		if queued := f.Stats().Queued; queued != 1 {
			t.Errorf("%d calls are queued, want 1", queued)
		}
		blocking.resolve()
		f.execution("a1").resolve()
		second.hears()
	})
}

func TestExecute_WhatItSaysNothingOfRunsAgainSingly(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		batch := &schedule.Batch{Max: 9, Bytes: 9}
		forgotten := f.send("a1", in(batch))
		running := f.execution("a1")
		f.sendAll("a2 a3", in(batch))
		running.end()
		single, batched := f.execution(), f.execution()
		if single.names[0] != "a1" {
			single, batched = batched, single
		}
		batched.resolve("a2", "a3")
		single.resolve("a1")
		forgotten.hears()
	})
}
