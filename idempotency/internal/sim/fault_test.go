package sim_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/onceql/onceql/idempotency/internal/sim"
)

// What each fault does to a transaction that inserts a key and commits: what the insert and
// the commit are answered, and whether it stands a minute later.
func TestFault_OfAConnection(t *testing.T) {
	const inserts, ok = "1 | SELECT 1", "COMMIT"
	for _, test := range []struct {
		fault          sim.Fault
		insert, commit string
		stands         bool
	}{
		{sim.Fault{Step: "insert one", Do: sim.Delay, For: 200 * time.Millisecond}, inserts, ok, true},
		{sim.Fault{Step: "insert one", Do: sim.Delay, For: time.Second}, "waits", "", false},
		{sim.Fault{Step: "insert one", Do: sim.Fail, Code: "XX000"}, "XX000", "ROLLBACK", false},
		{sim.Fault{Step: "insert one", Do: sim.Fail, Code: "57P01"}, "57P01", "broken", false},
		{sim.Fault{Step: "insert one", Do: sim.Cut, N: -1}, "broken", "broken", false},
		{sim.Fault{Step: "insert one", Do: sim.Cut, N: 7}, "broken", "broken", false},
		{sim.Fault{Step: "insert one", Do: sim.Drop}, "waits", "", false},
		{sim.Fault{Step: "insert one", Do: sim.Silence}, "waits", "", false},
		{sim.Fault{Step: "insert one", Do: sim.Freeze, For: 200 * time.Millisecond}, inserts, ok, true},
		{sim.Fault{Step: "insert one", Do: sim.Terminate}, "57P01", "broken", false},
		{sim.Fault{Step: sim.StepStandby, Do: sim.Terminate}, inserts, "broken", true},
		{sim.Fault{Step: sim.StepCommit, Do: sim.Fail, Code: "53300"}, inserts, "53300", false},
		{sim.Fault{Step: sim.StepCommit, Do: sim.Cut, N: -1}, inserts, "broken", true},
		{sim.Fault{Step: sim.StepCommit, Do: sim.Drop}, inserts, "waits", false},
		{sim.Fault{Step: sim.StepCommit, Do: sim.Silence}, inserts, "waits", true},
		{sim.Fault{Step: sim.StepFlush, Do: sim.Fail, Code: "58030"}, inserts, "58030", false},
		{sim.Fault{Step: sim.StepStandby, Do: sim.Fail, Code: "XX000"}, inserts, "XX000", true},
		{sim.Fault{Step: sim.StepVisible, Do: sim.Fail, Code: "57P01"}, inserts, "57P01", true},
		{sim.Fault{Step: sim.StepAnswered, Do: sim.Drop}, inserts, ok, true},
		{sim.Fault{Step: sim.StepAnswered, Do: sim.Silence}, inserts, "waits", true},
		{sim.Fault{Step: sim.StepAnswered, Do: sim.Cut, N: 5}, inserts, "broken", true},
		{sim.Fault{Step: sim.StepVisible, Do: sim.FreezeNode, For: 200 * time.Millisecond}, inserts, ok, true},
		{sim.Fault{Step: sim.StepVisible, Do: sim.FreezeNode, For: time.Second}, inserts, "waits", true},
	} {
		t.Run(test.fault.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fault := test.fault
				fault.Client, fault.Count = "a", 1
				p := newPlay(t, sim.Config{Faults: []sim.Fault{fault}})
				p.run(
					step{"a", begin, nil, "BEGIN"},
					step{"a", "claim one", claimed("k"), "[true] | SELECT 1"},
					step{"a", "insert one", row("k"), test.insert},
				)
				if test.insert != "waits" {
					p.run(step{"a", "commit", nil, test.commit})
				}
				time.Sleep(time.Minute)
				want := "SELECT 0"
				if test.stands {
					want = "k | SELECT 1"
					p.stand("k")
				} else {
					p.stand()
				}
				p.run(
					step{"b", "find one", named("k"), want},
					step{"b", "probe", claimed("k"), "[true] | SELECT 1"}, // Whatever happened has an end.
				)
			})
		})
	}
}

// A request may be cut at every byte. Where all of it arrives, the commit is carried out.
func TestFault_CutsARequestAtAByte(t *testing.T) {
	stood := 0
	for n := range 120 {
		synctest.Test(t, func(t *testing.T) {
			p := newPlay(t, sim.Config{Faults: []sim.Fault{{Step: sim.StepRequest, Client: "a", Count: 7, Do: sim.Cut, N: n}}})
			p.run(
				step{"a", begin, nil, "BEGIN"}, // The startup is the first request, and a statement is two.
				step{"a", "insert one", row("k"), "1 | SELECT 1"},
			)
			if answer := p.do("a", "commit"); answer != "broken" && answer != "COMMIT" {
				t.Errorf("cut at %d the commit is answered %q", n, answer)
			}
			time.Sleep(time.Second)
			stood += len(p.cluster.Keys())
			p.run(step{"b", "probe", claimed("k"), "[true] | SELECT 1"})
		})
	}
	if stood == 0 || stood == 120 {
		t.Errorf("%d of 120 commits were carried out", stood)
	}
}

func TestFault_LocksLieAndClocksAreShifted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(t, sim.Config{Faults: []sim.Fault{
			{At: time.Second, Do: sim.Lie, For: time.Second}, {At: time.Second, Do: sim.Shift, For: 72 * time.Hour},
		}})
		p.run(
			step{"a", "insert one", row("k"), "1 | SELECT 1"},
			step{"a", "purge", []any{nil, int64(10)}, "0 <nil> | SELECT 1"},
			step{"a", begin, nil, "BEGIN"},
			step{"a", "claim one", claimed("k"), "[true] | SELECT 1"},
			step{"b", "claim one", claimed("k"), "[false] | SELECT 1"},
		)
		time.Sleep(time.Until(bubble.Add(1500 * time.Millisecond)))
		p.run(step{"b", "claim one", claimed("k"), "[true] | SELECT 1"})
		time.Sleep(time.Second)
		p.run(
			step{"b", "claim one", claimed("k"), "[false] | SELECT 1"},
			step{"a", "purge", []any{nil, int64(10)}, "0 <nil> | SELECT 1"}, // Its time is that of its beginning.
			step{"a", "rollback", nil, "ROLLBACK"},
			step{"a", "purge", []any{nil, int64(10)}, "1 2000-01-01 02:00:00 +0000 UTC | SELECT 1"},
		)
		p.stand()
	})
}

// bubble is when every bubble begins.
var bubble = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func TestFault_TerminatesSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(t, sim.Config{Synchronous: true, Faults: []sim.Fault{
			{At: time.Second, Do: sim.Detach, For: time.Hour},
			{At: 5 * time.Second, Client: "idle", Do: sim.Terminate},
			{At: 5 * time.Second, Client: "waiting", Do: sim.Terminate},
			{At: 5 * time.Second, Client: "committing", Do: sim.Terminate},
		}})
		p.run(
			step{"idle", begin, nil, "BEGIN"},
			step{"idle", "count", []any{int64(2)}, "1 | UPDATE 1"},
			step{"busy", begin, nil, "BEGIN"},
			step{"busy", "count", []any{int64(1)}, "1 | UPDATE 1"},
			step{"waiting", "count", []any{int64(1)}, "waits"},
		)
		time.Sleep(time.Until(bubble.Add(2 * time.Second)))
		p.run(step{"committing", "insert one", row("k"), "waits"})
		time.Sleep(time.Until(bubble.Add(6 * time.Second)))
		p.run(
			step{"idle", "count", []any{int64(1)}, "57P01"},
			step{"waiting", "", nil, "57P01"},
			step{"committing", "", nil, "broken"},
			step{"another", "find one", named("k"), "k | SELECT 1"},
			step{"busy", "count", []any{int64(2)}, "1 | UPDATE 1"}, // The lock is free.
		)
	})
}

func TestFault_NoPrimaryKey(t *testing.T) {
	rehearse(t, sim.Config{NoPrimaryKey: true},
		step{"a", begin, nil, "BEGIN"},
		step{"a", "insert one", row("k"), "1 | SELECT 1"},
		step{"b", "insert one", row("k"), "1 | SELECT 1"},
		step{"a", "commit", nil, "COMMIT"},
	)
}

func TestFault_DialsAndStartups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, sim.Config{Faults: []sim.Fault{
			{Step: sim.StepDial, Client: "a", Count: 1, Do: sim.Cut},
			{Step: sim.StepStartup, Client: "a", Count: 1, Do: sim.Fail, Code: "53300"}, // db2's.
			{Step: sim.StepDial, Client: "b", Count: 1, Do: sim.FreezeNode, For: 4 * time.Second},
		}})
		pool := newPool(t, c.Pool("a"))
		if err := pool.Ping(t.Context()); err == nil {
			t.Error("a dial that is refused, and a startup, succeed")
		}
		if err := pool.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		began := time.Now()
		if err := newPool(t, c.Pool("b")).Ping(t.Context()); err != nil || time.Since(began) < 4*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}
