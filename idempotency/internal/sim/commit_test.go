package sim_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onceql/onceql/idempotency/internal/sim"
)

// stand checks which keys are durable on the primary.
func (p *play) stand(want ...string) {
	p.t.Helper()
	var got []string
	for _, row := range p.cluster.Keys() {
		got = append(got, row.Key.Key)
	}
	if !slices.Equal(got, want) {
		p.t.Errorf("the keys %q stand, want %q", got, want)
	}
}

func TestCommit_WaitsForTheStandby(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(t, sim.Config{Synchronous: true, Faults: []sim.Fault{{At: 1, Do: sim.Detach, For: time.Minute}}})
		p.run(
			step{"a", begin, nil, "BEGIN"},
			step{"a", "claim one", claimed("k"), "[true] | SELECT 1"},
			step{"a", "insert one", row("k"), "1 | SELECT 1"},
			step{"a", "commit", nil, "waits"},
			// It is durable, not visible, and its locks are held.
			step{"b", "find one", named("k"), "SELECT 0"},
			step{"b", "probe", claimed("k"), "[false] | SELECT 1"},
			step{"b", "insert one", row("k"), "waits"},
		)
		p.stand("k")
		time.Sleep(time.Minute)
		p.run(
			step{"a", "", nil, "COMMIT"},
			step{"b", "", nil, "23505 idempotency_keys_pkey"},
			step{"b", "find one", named("k"), "k | SELECT 1"},
			// It writes nothing, and waits for nobody.
			step{"b", begin, nil, "BEGIN"},
			step{"b", "commit", nil, "COMMIT"},
		)
		if p.sessions["a"].notices != nil {
			t.Error("a heard a notice")
		}
	})
}

// A commit that is visible is not durable elsewhere; one that writes behind it waits for
// both.
func TestCommit_WaitIsCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(t, sim.Config{Synchronous: true, Faults: []sim.Fault{{At: 1, Do: sim.Detach, For: time.Minute}}})
		p.run(
			step{"a", begin, nil, "BEGIN"},
			step{"a", "insert one", row("k"), "1 | SELECT 1"},
			step{"a", "commit", nil, "waits"},
		)
		if err := p.sessions["a"].conn.PgConn().CancelRequest(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.run(
			step{"a", "", nil, "COMMIT"},
			step{"b", "find one", named("k"), "k | SELECT 1"},
			step{"b", begin, nil, "BEGIN"},
			step{"b", "acknowledge", nil, "0/0 | SELECT 1"},
			step{"b", "commit", nil, "waits"},
		)
		if got := p.sessions["a"].notices; len(got) != 1 {
			t.Errorf("a heard the notices %v", got)
		}
		time.Sleep(time.Minute)
		p.run(step{"b", "", nil, "COMMIT"})
	})
}

func TestCommit_NeedsNoStandby(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(t, sim.Config{Synchronous: true, Faults: []sim.Fault{
			{At: 1, Do: sim.Detach, For: time.Minute}, {At: 10 * time.Second, Do: sim.Asynchronous},
		}})
		p.run(step{"a", "insert one", row("k"), "waits"})
		time.Sleep(10 * time.Second)
		p.run(step{"a", "", nil, "1 | SELECT 1"}, step{"b", "insert one", row("l"), "1 | SELECT 1"})
	})
}

// What a crash at each step of a commit leaves.
func TestCommit_CrashAtEachStep(t *testing.T) {
	for _, test := range []struct {
		step, answer string
		stands       bool
	}{
		{sim.StepCommit, "broken", false},
		{sim.StepFlush, "broken", false},
		{sim.StepStandby, "broken", true},
		{sim.StepVisible, "broken", true},
		{sim.StepUnlock, "broken", true},
		{sim.StepAnswered, "broken", true},
	} {
		t.Run(test.step, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPlay(t, sim.Config{Faults: []sim.Fault{{Step: test.step, Client: "a", Count: 1, Do: sim.Crash, For: time.Second}}})
				p.run(
					step{"a", begin, nil, "BEGIN"},
					step{"a", "insert one", row("k"), "1 | SELECT 1"},
					step{"a", "commit", nil, "broken"},
				)
				time.Sleep(2 * time.Second)
				if test.stands {
					p.stand("k")
					p.run(step{"b", "insert one", row("k"), "23505 idempotency_keys_pkey"})
				} else {
					p.stand()
					p.run(step{"b", "insert one", row("k"), "1 | SELECT 1"})
				}
			})
		})
	}
}

// A standby that is promoted has what it has received.
func TestPromote(t *testing.T) {
	for _, synchronous := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			p := newPlay(t, sim.Config{Synchronous: synchronous, Faults: []sim.Fault{
				{At: time.Second, Do: sim.Detach, For: time.Hour},
				{At: 10 * time.Second, Do: sim.Promote, For: 10 * time.Second},
			}})
			p.run(step{"a", "insert one", row("k"), "1 | SELECT 1"})
			time.Sleep(2 * time.Second)
			answer := "1 | SELECT 1"
			if synchronous {
				answer = "waits"
			}
			p.run(step{"a", "insert one", row("l"), answer})
			p.stand("k", "l")
			time.Sleep(10 * time.Second)
			p.stand("k")
			p.host = "db2"
			p.run(
				step{"b", "select pg_is_in_recovery()", nil, "false | SELECT 1"},
				step{"b", "insert one", row("l"), "1 | SELECT 1"},
			)
			time.Sleep(10 * time.Second)
			p.host = "db1"
			p.run(
				step{"c", "show transaction_read_only", nil, "on | SHOW"},
				step{"c", "find one", named("l"), "l | SELECT 1"},
				step{"b", "insert one", row("m"), "1 | SELECT 1"},
				step{"c", "find one", named("m"), "m | SELECT 1"},
			)
		})
	}
}

// A primary that crashed before another was promoted comes back as a standby alone.
func TestPromote_AfterACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(t, sim.Config{Synchronous: true, Faults: []sim.Fault{
			{At: time.Second, Do: sim.Crash, For: 5 * time.Second},
			{At: 2 * time.Second, Do: sim.Promote, For: 10 * time.Second},
			{At: 3 * time.Second, Do: sim.Promote}, // There is no standby.
		}})
		p.run(step{"a", "insert one", row("k"), "1 | SELECT 1"})
		time.Sleep(7 * time.Second)
		if _, err := p.cluster.Dialer("b")(t.Context(), "tcp", "db1:5432"); err == nil {
			t.Error("the old primary is back")
		}
		time.Sleep(10 * time.Second)
		p.run(step{"b", begin, nil, "0A000"}, step{"b", "find one", named("k"), "k | SELECT 1"})
	})
}

func TestPromote_LeavesTheOldPrimaryAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(t, sim.Config{Faults: []sim.Fault{{At: time.Second, Do: sim.PromoteUnfenced, For: time.Minute}}})
		p.run(step{"a", "insert one", row("k"), "1 | SELECT 1"})
		time.Sleep(2 * time.Second)
		p.run(step{"a", "insert one", row("l"), "1 | SELECT 1"})
		p.stand("k")
		p.host = "db2"
		p.run(step{"b", "insert one", row("l"), "1 | SELECT 1"})
		time.Sleep(time.Minute)
		p.run(step{"a", "select 1", nil, "broken"})
		p.stand("k", "l")
	})
}

func TestStandby_ReadsAndDoesNotWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(t, sim.Config{})
		p.run(step{"a", "insert one", row("k"), "1 | SELECT 1"})
		time.Sleep(time.Second)
		p.host = "db2"
		p.run(
			step{"b", "select pg_is_in_recovery()", nil, "true | SELECT 1"},
			step{"b", begin, nil, "0A000"},
			step{"b", "begin read write; rollback -- probe", nil, "0A000"},
			step{"b", "begin", nil, "BEGIN"},
			step{"b", "claim one", claimed("k"), "[true] | SELECT 1"},
			step{"b", "find one", named("k"), "k | SELECT 1"},
			step{"b", "insert one", row("l"), "25006"},
			step{"b", "rollback", nil, "ROLLBACK"},
			step{"b", "count", []any{int64(1)}, "25006"},
			step{"b", "effect", effectOf("k", 1), "25006"},
			step{"b", "forget", named("k"), "25006"},
			step{"b", "acknowledge", nil, "25006"},
		)
	})
}
