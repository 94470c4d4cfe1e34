package main

import (
	"testing"
	"time"

	"github.com/onceql/onceql/chaos/history"
	"github.com/onceql/onceql/chaos/load"
)

// one is a call with that outcome that was heard so long after the start.
func one(key string, outcome history.Outcome, at time.Duration) history.Call {
	return history.Call{Key: key, Variant: "create1", Called: at - 10*time.Millisecond, Returned: at, Outcome: outcome}
}

func TestReport_CountsWhatClientsNotice(t *testing.T) {
	t.Parallel()
	faults := func() []*fault {
		return []*fault{
			{kind: killed, from: 1 * time.Second, until: 2 * time.Second},
			{kind: frozen, from: 5 * time.Second, until: 6 * time.Second},
			{kind: frozenFor, from: 8 * time.Second, until: 9 * time.Second},
		}
	}
	left := one("k", history.Unknown, 1500*time.Millisecond)
	left.Left = true
	for name, c := range map[string]struct {
		call                         history.Call
		unnoticed, unexplained, lost int
		good                         bool
	}{
		"an answer":                  {one("k", history.Executed, 1500*time.Millisecond), 2, 0, 0, true},
		"no answer":                  {one("k", history.Unknown, 1500*time.Millisecond), 1, 0, 0, false},
		"refused":                    {one("k", history.Refused, 5500*time.Millisecond), 1, 0, 0, false},
		"no answer to who left":      {left, 2, 0, 0, true},
		"no answer, and no fault":    {one("k", history.Unknown, 4*time.Second), 2, 1, 0, false},
		"beyond the wait":            {one("k", history.Unknown, 8500*time.Millisecond), 2, 0, 0, true},
		"a body that is not kept":    {one(load.Large+"-1", history.Unknown, 1500*time.Millisecond), 2, 0, 1, true},
		"an answer just after":       {one("k", history.Unknown, 6100*time.Millisecond), 1, 0, 0, false},
		"a large body without fault": {one(load.Large+"-1", history.Unknown, 4*time.Second), 2, 1, 0, false},
	} {
		calls := new(history.History)
		calls.Add(c.call)
		r := report{calls: 1, retries: retries{healed: 1}}
		r.attribute(faults(), calls, true)
		_, unnoticed := r.share()
		if unnoticed != c.unnoticed || len(r.unexplained) != c.unexplained || len(r.lost) != c.lost || r.good(0.95) != c.good {
			t.Errorf("%s: %d unnoticed, %d unexplained, %d lost, good %t; want %d, %d, %d, %t",
				name, unnoticed, len(r.unexplained), len(r.lost), r.good(0.95), c.unnoticed, c.unexplained, c.lost, c.good)
		}
	}
}

func TestReport_OfADrillThatTriedNothingIsNotGood(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]report{
		"no calls":    {faults: []*fault{{kind: killed}}, retries: retries{healed: 1}},
		"no faults":   {calls: 1, retries: retries{healed: 1}},
		"no retries":  {calls: 1, faults: []*fault{{kind: killed}}},
		"only beyond": {calls: 1, faults: []*fault{{kind: frozenFor}}, retries: retries{healed: 1}},
	} {
		if r.good(0) {
			t.Errorf("%s: good", name)
		}
	}
}
