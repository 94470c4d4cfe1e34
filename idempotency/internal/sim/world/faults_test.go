package world_test

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/onceql/onceql/idempotency/internal/sim"
)

// The steps at which connections suffer: those around a COMMIT in the first place.
var (
	commitSteps = []string{sim.StepCommit, sim.StepFlush, sim.StepStandby, sim.StepVisible, sim.StepUnlock, sim.StepAnswered}
	otherSteps  = []string{
		sim.StepDial, sim.StepStartup, sim.StepRequest, sim.StepReply, "begin", "rollback",
		"claim", "claim one", "find", "find one", "find in scope", "probe", "acknowledge",
		"savepoint", "rollback to", "release", "effects", "count", "sleep", "mark",
		"constraints", "restore", "insert", "insert one", "resolve",
		"forget", "lock", "exists", "scope", "purge lock", "purge",
	}
	connActions = []sim.Action{sim.Delay, sim.Drop, sim.Silence, sim.Cut, sim.Fail, sim.Freeze, sim.Terminate}
	// codes are what a server may say of itself at any moment.
	codes = []string{"57P01", "57P02", "53300", "53200", "40001", "58030", "08006", "XX000"}
)

// ofEffects are the steps whose errors are an effect's.
var ofEffects = map[string]bool{"effects": true, "count": true, "sleep": true, "mark": true, "constraints": true}

// drawFaults draws what goes wrong.
func drawFaults(random *rand.Rand, at *instants, p plan) []sim.Fault {
	var faults []sim.Fault
	some := func(most int, draw func() sim.Fault) {
		for range 1 + random.IntN(most) {
			faults = append(faults, draw())
		}
	}
	atCommit := func() sim.Fault { return connFault(random, p, commitSteps) }
	anywhere := func() sim.Fault { return connFault(random, p, otherSteps) }
	// Between the locks and the look-up others may commit.
	slowClaim := func() sim.Fault {
		return sim.Fault{
			Step: []string{"claim", "claim one", "find one"}[random.IntN(3)], Client: fmt.Sprint("server", random.IntN(len(p.servers))),
			Count: 1 + random.IntN(20), Do: sim.Delay, For: time.Duration(1+random.IntN(20_000)) * time.Microsecond,
		}
	}
	onNode := func(do sim.Action, most time.Duration) func() sim.Fault {
		return func() sim.Fault { return sim.Fault{At: at.within(trouble), Do: do, For: at.within(most)} }
	}
	nodeAtCommit := func(do sim.Action, most time.Duration) func() sim.Fault {
		return func() sim.Fault {
			return sim.Fault{Step: commitSteps[random.IntN(len(commitSteps))], Count: 1 + random.IntN(12), Do: do, For: at.within(most)}
		}
	}
	switch p.family {
	case commits:
		some(5, atCommit)
		some(3, anywhere)
		some(6, slowClaim)
	case crashes:
		some(2, onNode(sim.Crash, 2*time.Second))
		some(2, atCommit)
		some(2, anywhere)
		some(1, onNode(sim.FreezeNode, time.Second))
		some(1, nodeAtCommit(sim.Crash, 2*time.Second))
	case lies:
		faults = append(faults, sim.Fault{At: time.Microsecond, Do: sim.Lie, For: 2 * trouble})
		some(2, atCommit)
	case failovers:
		some(1, onNode(sim.Promote, time.Second))
		some(1, nodeAtCommit(sim.Promote, time.Second))
		some(2, atCommit)
		some(2, anywhere)
		some(1, onNode(sim.Detach, time.Second))
	case ages:
		some(3, onNode(sim.Shift, 3*time.Hour))
		some(2, atCommit)
		some(3, anywhere)
		some(6, slowClaim)
	case mixed:
		some(3, atCommit)
		some(3, anywhere)
		some(1, onNode(sim.Crash, time.Second))
		some(1, onNode(sim.Lie, trouble))
		some(1, onNode(sim.Shift, 3*time.Hour))
	}
	return faults
}

// connFault is one of a connection of a server's.
func connFault(random *rand.Rand, p plan, steps []string) sim.Fault {
	f := sim.Fault{
		Step:   steps[random.IntN(len(steps))],
		Client: fmt.Sprint("server", random.IntN(len(p.servers))),
		Count:  1 + random.IntN(8),
		Do:     connActions[random.IntN(len(connActions))],
		For:    time.Duration(1+random.IntN(500_000)) * time.Microsecond,
	}
	switch f.Do {
	case sim.Cut:
		f.N = random.IntN(200) - 20
	case sim.Fail:
		f.Code = codes[random.IntN(len(codes))]
		if ofEffects[f.Step] && f.Code == "XX000" { // That would be the effect's own error.
			f.Code = "57P01"
		}
	}
	return f
}
