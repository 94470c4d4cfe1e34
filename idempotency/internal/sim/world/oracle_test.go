package world_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/idempotency/internal/sim"
	"github.com/onceql/onceql/idempotency/internal/store"
)

// sound is what a world did in which nothing went wrong: a call, and its replay.
func sound() *account {
	value := result{Scope: "tenant", Key: "key", Attempt: 1001, Effect: 1}
	return &account{
		plan: plan{
			family:  calm,
			servers: []serverPlan{{version: 1}},
			intents: []intentPlan{{scope: "tenant", key: "key", patience: enough}},
		},
		attempts: []attempt{
			{number: 1001, heard: success, value: value},
			{number: 1002, heard: success, value: value, replayed: true},
		},
		keys:    []store.Row{{Key: store.Key{Scope: "tenant", Key: "key"}, RequestID: "1001"}},
		effects: []sim.Effect{{ID: 1, Scope: "tenant", Key: "key", N: 1001}},
	}
}

// TestCheck_SeesEachViolation: a check that never says no is worth nothing.
func TestCheck_SeesEachViolation(t *testing.T) {
	t.Parallel()
	if a := sound(); a.check() != nil {
		t.Fatalf("a sound world: %v", a.violations)
	}
	happened := func(what string) func(*account) {
		return func(a *account) { a.history = append(a.history, sim.Event{What: what}) }
	}
	for want, spoil := range map[string]func(*account){
		"effects of [1001 1001]":     func(a *account) { a.effects = append(a.effects, a.effects[0]) },
		"has 2 rows":                 func(a *account) { a.keys = append(a.keys, a.keys[0]) },
		"which is lost":              func(a *account) { a.effects, a.keys = nil, nil },
		"was answered {Scope:tenant": func(a *account) { a.attempts[1].value.Payload = 1 },
		`was answered effect 7 of ""`: func(a *account) {
			a.attempts[1].value.Effect = 7
		},
		"replayed true":               func(a *account) { a.attempts[0].replayed = true },
		"both told to be the first":   func(a *account) { a.attempts[1].replayed = false },
		"and others {":                func(a *account) { a.attempts[1].value.Effect = 2 },
		"and is fail":                 func(a *account) { a.plan.intents[0].kind = fail },
		"and its effect stands":       func(a *account) { a.attempts[0].heard, a.attempts[0].err = refused, errRefused },
		"nobody sent another payload": refuses(idempotency.ErrKeyReused),
		"no time has passed":          refuses(idempotency.ErrKeyExpired),
		"which is good, was refused":  refuses(errRefused),
		"forget false was not done in time": func(a *account) {
			a.attempts[0].heard, a.attempts[1].heard = unknown, unknown
		},
		"was not done in time": func(a *account) { // Both began in time.
			a.attempts[0].ended, a.attempts[1].ended = trouble+healing+1, trouble+healing+2
		},
		"of a server where nothing":          func(a *account) { a.attempts[1].heard, a.attempts[1].err = unknown, errNoServer },
		"a key was inserted twice":           happened("unique violation tenant key"),
		"a caller cancelled a COMMIT":        happened("commit unknown, attempt 1001: context canceled"),
		"claims on a standby":                happened("claims on a standby [true]"),
		"purges too early":                   happened("purges too early tenant key"),
		"removed [1001]":                     func(a *account) { a.removed = slices.Clone(a.keys) },
		"effects of [], rows of [1001], rem": func(a *account) { a.effects = nil },
	} {
		a := sound()
		spoil(a)
		a.check()
		if !strings.Contains(a.violations.String(), want) {
			t.Errorf("nothing says %q: %v", want, a.violations)
		}
	}
}

// refuses has the second request refused.
func refuses(err error) func(*account) {
	return func(a *account) { a.attempts[1].heard, a.attempts[1].err = refused, err }
}
