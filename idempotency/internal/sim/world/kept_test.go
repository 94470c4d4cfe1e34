package world_test

import (
	"testing"
	"time"

	"github.com/onceql/onceql/idempotency/internal/sim"
)

// kept are plans that broke a promise once, each as short as it could be made.
var kept = map[string]plan{
	"an internal error of the server while settings are restored is not the effect's": {
		family:  mixed,
		servers: []serverPlan{{version: 1}},
		intents: []intentPlan{{at: time.Millisecond, scope: "tenant", key: "key", kind: rowLock, patience: enough}},
		faults:  []sim.Fault{{Step: "restore", Count: 1, Client: "server0", Do: sim.Fail, Code: "XX000"}},
	},
	"a COMMIT that was lost, and then one that Postgres refused, are not the same answer twice": {
		family:  commits,
		servers: []serverPlan{{version: 1}},
		intents: []intentPlan{{at: time.Millisecond, scope: "tenant", key: "key", patience: enough}},
		faults: []sim.Fault{
			{Step: sim.StepCommit, Count: 1, Client: "server0", Do: sim.Fail, Code: "57P02"},
			{Step: sim.StepFlush, Count: 1, Client: "server0", Do: sim.Fail, Code: "23503"},
		},
	},
	"an internal error of the server at COMMIT is not the effect's, however often it comes": {
		family:  commits,
		servers: []serverPlan{{version: 1}},
		intents: []intentPlan{{at: time.Millisecond, scope: "tenant", key: "key", patience: enough}},
		faults: []sim.Fault{
			{Step: sim.StepFlush, Count: 1, Client: "server0", Do: sim.Fail, Code: "XX000"},
			{Step: sim.StepFlush, Count: 2, Client: "server0", Do: sim.Fail, Code: "XX000"},
		},
	},
	"an acknowledgement that does not come delays its replay and others for a moment": {
		family: calm, synchronous: true,
		servers: []serverPlan{{version: 1}},
		intents: []intentPlan{
			{at: time.Millisecond, scope: "tenant", key: "key", patience: enough},
			{at: 2 * time.Millisecond, scope: "tenant", key: "other", patience: enough},
		},
		faults: []sim.Fault{{Step: "acknowledge", Count: 1, Client: "server0", Do: sim.Silence}},
	},
}

// TestKept runs the plans that broke a promise once.
func TestKept(t *testing.T) {
	for name, p := range kept {
		if a := run(t, p); len(a.violations) > 0 {
			t.Errorf("%s: %v\n%s", name, a.violations, a.text())
		}
	}
}
