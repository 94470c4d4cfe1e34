package history

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// A state is what a key has done: nothing, or one effect.
type state struct {
	// variant is that of the payload that was executed; empty for nothing.
	variant string
	// payload is what was answered, once an answer has said so.
	payload string
}

// model is one key of a table in which every call takes place at a moment between its
// call and its return.
var model = porcupine.Model{
	Init: func() any { return state{} },
	Step: func(before, input, _ any) (bool, any) {
		c, s := input.(Call), before.(state) //nolint:errcheck // Linearizable gives nothing else.
		return step(s, c)
	},
	Equal: func(a, b any) bool { return a == b },
}

func step(s state, c Call) (possible bool, next state) {
	nothing := s.variant == ""
	switch c.Outcome {
	case Unknown:
		switch {
		case c.Variant == Forget:
			return true, state{}
		case nothing:
			return true, state{variant: c.Variant}
		}
		return true, s
	case Executed:
		return nothing, state{c.Variant, c.Payload}
	case Replayed:
		return s.variant == c.Variant && (s.payload == "" || s.payload == c.Payload), state{c.Variant, c.Payload}
	case Reused:
		return !nothing && s.variant != c.Variant, s
	case Invalid, NothingToForget:
		return nothing, s
	case Forgotten:
		return !nothing, state{}
	case Stored:
		return s.variant == c.Variant, s
	case Refused:
		return true, s
	}
	return false, s // Expired: no key of these does.
}

// checkTimeout bounds the check of one key.
const checkTimeout = time.Minute

// Linearizable says whether one caller after another could have heard what the callers
// of one key heard, none of them before it called or after it returned. What takes longer
// than a minute to find out counts as no.
func Linearizable(calls []Call) bool { return linearizable(calls, checkTimeout) }

func linearizable(calls []Call, timeout time.Duration) bool {
	var operations []porcupine.Operation
	for i, c := range reduce(repeated(joined(calls))) {
		returned := int64(c.Returned)
		if c.Outcome == Unknown {
			returned = math.MaxInt64
		}
		operations = append(operations, porcupine.Operation{ClientId: i, Input: c, Call: int64(c.Called), Return: returned})
	}
	return porcupine.CheckOperationsTimeout(model, operations, timeout) == porcupine.Ok
}

// BehindEdge adds to the calls of a key the one that executed, where no caller was told so: an
// edge that did not hear a server's answer asked another one, which replayed.
func BehindEdge(calls []Call) []Call {
	told := slices.ContainsFunc(calls, func(c Call) bool { return c.Outcome == Executed })
	if told && !slices.ContainsFunc(calls, func(c Call) bool { return c.Variant == Forget }) {
		return calls
	}
	for _, c := range calls { // The earliest first.
		if c.Outcome == Replayed {
			c.Outcome, c.Payload, c.Why = Unknown, "", "a try of the edge's that was not answered"
			return append([]Call{c}, calls...)
		}
	}
	return calls
}

// joined has a call begin with the one that it joined: a server may hear of a key for
// several callers at once, and tells also those who come later what it heard. That shows
// only where the key was forgotten in between.
func joined(calls []Call) []Call {
	if !slices.ContainsFunc(calls, func(c Call) bool { return c.Variant == Forget }) {
		return calls
	}
	calls = slices.Clone(calls)
	for i, c := range calls {
		if c.Outcome != Replayed && c.Outcome != Reused {
			continue
		}
		for _, before := range calls[:i] { // The earliest first.
			if before.Server == c.Server && (before.Outcome == Unknown || before.Returned > c.Called) {
				calls[i].Called = min(calls[i].Called, before.Called)
			}
		}
	}
	slices.SortStableFunc(calls, func(a, b Call) int { return cmp.Compare(a.Called, b.Called) })
	return calls
}

// repeated has a call take effect twice where it may: its COMMIT went unanswered, the key was
// forgotten before the server looked, and then nothing says that the COMMIT was done.
func repeated(calls []Call) []Call {
	all := make([]Call, 0, len(calls))
	for _, c := range calls {
		if c.Outcome == Executed && slices.ContainsFunc(calls, c.forgottenMeanwhile) {
			first := c
			first.Outcome, first.Payload = Unknown, ""
			all = append(all, first)
		}
		all = append(all, c)
	}
	return all
}

// forgottenMeanwhile says whether the other call forgets the key while this one goes on.
func (c Call) forgottenMeanwhile(other Call) bool {
	return other.Variant == Forget && other.Outcome != NothingToForget && other.Called < c.Returned && other.Returned > c.Called
}

// reduce leaves calls out that decide nothing, because the search takes exponentially long
// in the calls of one moment. These are the calls turned away; of unknown calls with one
// payload all but the earliest, as many as can take effect; and an answer that changes
// nothing during which another caller both called and heard the same.
func reduce(calls []Call) []Call {
	times := 1 // The key is empty once, and once more after each call that forgets it.
	for _, c := range calls {
		if c.Variant == Forget {
			times++
		}
	}
	unknown := map[string]int{}
	var kept []Call
	for i, c := range calls { // The earliest first.
		switch c.Outcome {
		case Refused:
			continue
		case Unknown:
			if unknown[c.Variant]++; unknown[c.Variant] > times {
				continue
			}
		case Replayed, Reused, Invalid:
			if slices.ContainsFunc(calls[i+1:], c.implied) {
				continue
			}
		}
		kept = append(kept, c)
	}
	return kept
}

// implied says whether a call that began later heard the same while the call waited.
func (c Call) implied(by Call) bool {
	return by.Returned <= c.Returned && by.Outcome == c.Outcome && by.Variant == c.Variant && by.Payload == c.Payload
}
