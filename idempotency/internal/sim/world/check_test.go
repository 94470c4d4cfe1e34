package world_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/idempotency/internal/store"
)

// A violation is a promise that was broken. Those of one kind are found by one check.
type violation struct{ kind, text string }

type violations []violation

func (v violations) String() string {
	texts := make([]string, len(v))
	for n := range v {
		texts[n] = v[n].text
	}
	return strings.Join(texts, "\n")
}

// has says whether there is a violation of the kind.
func (v violations) has(kind string) bool {
	return slices.ContainsFunc(v, func(one violation) bool { return one.kind == kind })
}

// check holds what happened against what is promised, and returns what does not agree.
func (a *account) check() violations {
	a.checkEffects()
	for n := range a.attempts {
		a.checkAnswer(&a.attempts[n])
	}
	a.checkFirsts()
	a.checkEnds()
	a.checkHistory()
	switch a.plan.family {
	case calm:
		a.checkNeighbours()
		fallthrough
	case commits, crashes, ages:
		a.checkLocks()
	}
	return a.violations
}

// violate notes a violation, whose kind is the format.
func (a *account) violate(format string, arguments ...any) {
	a.violations = append(a.violations, violation{format, fmt.Sprintf(format, arguments...)})
}

// checkEffects: there is an effect exactly where there is a row, or was until it was
// purged or forgotten; and the row tells of that effect.
func (a *account) checkEffects() {
	type stored struct{ effects, rows, removed []int64 }
	of := map[string]*stored{}
	at := func(id string) *stored {
		if of[id] == nil {
			of[id] = &stored{}
		}
		return of[id]
	}
	for _, e := range a.effects {
		s := at(e.Scope + "/" + e.Key)
		s.effects = append(s.effects, e.N)
	}
	for _, k := range a.keys {
		s := at(k.Scope + "/" + k.Key.Key)
		s.rows = append(s.rows, attemptOf(k))
	}
	for _, k := range a.removed {
		s := at(k.Scope + "/" + k.Key.Key)
		s.removed = append(s.removed, attemptOf(k))
	}
	seen := map[string]bool{}
	for _, i := range a.plan.intents {
		id := i.id()
		if seen[id] {
			continue
		}
		seen[id] = true
		s := at(id)
		if len(s.rows) > 1 {
			a.violate("%s has %d rows", id, len(s.rows))
		}
		if !same(s.effects, append(s.rows, s.removed...)) {
			a.violate("%s: effects of %v, rows of %v, removed %v", id, s.effects, s.rows, s.removed)
		}
	}
}

// attemptOf is the number of the attempt that made the row.
func attemptOf(row store.Row) int64 {
	n, _ := strconv.ParseInt(row.RequestID, 10, 64)
	return n
}

// same says whether both have the same numbers, however often each.
func same(one, other []int64) bool {
	count := map[int64]int{}
	for _, n := range one {
		count[n]++
	}
	for _, n := range other {
		count[n]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

// done says whether the attempt's effect stands.
func (a *account) done(attempt int) bool {
	for _, e := range a.effects {
		if e.N == int64(attempt) {
			return true
		}
	}
	return false
}

// ownerOf is whose the effect with the id is.
func (a *account) ownerOf(id int64) string {
	for _, e := range a.effects {
		if e.ID == id {
			return e.Scope + "/" + e.Key
		}
	}
	return ""
}

// checkAnswer holds one answer against what stands.
func (a *account) checkAnswer(at *attempt) {
	i := a.plan.intents[at.intent]
	switch at.heard {
	case unknown:
	case success:
		v := at.value
		if v.Scope+"/"+v.Key != i.id() || v.Payload != i.payload {
			a.violate("%d of %s with payload %d was answered %+v", at.number, i.id(), i.payload, v)
		}
		if !i.kind.succeeds() {
			a.violate("%d succeeded, and is %v", at.number, i.kind)
		}
		if owner := a.ownerOf(v.Effect); owner != i.id() {
			a.violate("%d of %s was answered effect %d of %q", at.number, i.id(), v.Effect, owner)
		}
		if !a.done(v.Attempt) {
			a.violate("%d was acknowledged the effect of %d, which is lost", at.number, v.Attempt)
		}
		if at.replayed != (v.Attempt != at.number) {
			a.violate("%d was answered the effect of %d, replayed %t", at.number, v.Attempt, at.replayed)
		}
	case refused:
		if a.done(at.number) && !a.forgotten(at.number) {
			a.violate("%d was refused with %q, and its effect stands", at.number, at.err)
		}
		a.checkRefusal(at, i)
	}
}

// checkRefusal: a call is refused for what it is itself, and for nothing else.
func (a *account) checkRefusal(at *attempt, i intentPlan) {
	switch {
	case errors.Is(at.err, idempotency.ErrKeyReused):
		for _, other := range a.plan.intents {
			if other.id() == i.id() && (other.payload != i.payload || other.kind != i.kind) {
				return
			}
		}
		a.violate("%d is ErrKeyReused, and nobody sent another payload", at.number)
	case errors.Is(at.err, idempotency.ErrKeyExpired):
		if a.plan.family != ages && a.plan.family != mixed {
			a.violate("%d is expired, and no time has passed", at.number)
		}
	case i.kind.succeeds():
		a.violate("%d, which is %v, was refused with %v", at.number, i.kind, at.err)
	}
}

// checkFirsts: of all who heard of an effect, one was told that it was the first.
func (a *account) checkFirsts() {
	firsts := map[int]int{}
	values := map[int]result{}
	for _, at := range a.attempts {
		if at.heard != success {
			continue
		}
		of := at.value.Attempt
		if !at.replayed {
			if other, told := firsts[of]; told {
				a.violate("%d and %d were both told to be the first of %d", other, at.number, of)
			}
			firsts[of] = at.number
		}
		if value, known := values[of]; known && value != at.value && !a.forgotten(of) {
			a.violate("%d was answered %+v, and others %+v", at.number, at.value, value)
		}
		values[of] = at.value
	}
}

// forgotten says whether a row of the attempt was purged or forgotten. Where the clock
// runs for hours, that may be while the attempt asks what became of its COMMIT, and it
// executes again.
func (a *account) forgotten(attempt int) bool {
	return slices.ContainsFunc(a.removed, func(row store.Row) bool { return attemptOf(row) == int64(attempt) })
}

// checkEnds: once the trouble is over every intent is done or refused in time. An attempt
// may begin in time and end later.
func (a *account) checkEnds() {
	ended := make([]bool, len(a.plan.intents))
	for _, at := range a.attempts {
		ended[at.intent] = ended[at.intent] || at.heard != unknown && at.ended <= trouble+healing
	}
	for n, i := range a.plan.intents {
		if !ended[n] {
			a.violate("%v was not done in time", i)
		}
	}
}

// checkNeighbours: where nothing goes wrong but calls that are bad in themselves, the
// good ones hear of none of it.
func (a *account) checkNeighbours() {
	for _, at := range a.attempts {
		i := a.plan.intents[at.intent]
		if at.heard == unknown && i.patience == enough && i.kind.succeeds() && !a.plan.deploys() {
			a.violate("%d, which is %v, heard %v of a server where nothing goes wrong", at.number, i.kind, at.err)
		}
	}
}

// checkHistory: a caller who leaves cancels nobody's COMMIT; nothing is claimed from a
// standby; and no purge removes a row before its retention is over.
func (a *account) checkHistory() {
	for _, e := range a.history {
		switch {
		case strings.HasPrefix(e.What, "commit unknown") && strings.HasSuffix(e.What, "context canceled"):
			a.violate("a caller cancelled a COMMIT: %v", e)
		case strings.HasPrefix(e.What, "claims on a standby"):
			a.violate("a standby was asked for locks: %v", e)
		case strings.HasPrefix(e.What, "purges too early"):
			a.violate("a row was still needed: %v", e)
		}
	}
}

// checkLocks: where the locks are honest and there is one primary, no two executions
// ever insert the same key.
func (a *account) checkLocks() {
	for _, e := range a.history {
		if strings.HasPrefix(e.What, "unique violation") {
			a.violate("with honest locks a key was inserted twice: %v", e)
		}
	}
}
