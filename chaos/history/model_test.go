package history_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/onceql/onceql/chaos/history"
)

// call is one of the key's, from a moment to another.
func call(from, to int, variant string, outcome history.Outcome, payload string) history.Call {
	return history.Call{
		Key: "k", Variant: variant, Outcome: outcome, Payload: payload,
		Called: time.Duration(from), Returned: time.Duration(to),
	}
}

// elsewhere has the call go to another server.
func elsewhere(c history.Call) history.Call {
	c.Server = "another"
	return c
}

func TestLinearizable(t *testing.T) {
	t.Parallel()
	const (
		unknown, executed, replayed, reused = history.Unknown, history.Executed, history.Replayed, history.Reused
		invalid, refused, expired, stored   = history.Invalid, history.Refused, history.Expired, history.Stored
		forgotten, nothing                  = history.Forgotten, history.NothingToForget
	)
	for name, test := range map[string]struct {
		calls []history.Call
		want  bool
	}{
		"an execution and its replay":             {[]history.Call{call(0, 1, "a", executed, "p"), call(2, 3, "a", replayed, "p"), call(4, 5, "a", stored, "")}, true},
		"two executions":                          {[]history.Call{call(0, 3, "a", executed, "p"), call(1, 2, "a", executed, "p")}, false},
		"a replay of nothing":                     {[]history.Call{call(0, 1, "a", replayed, "p"), call(2, 3, "a", executed, "p")}, false},
		"a replay while it executes":              {[]history.Call{call(0, 3, "a", executed, "p"), call(1, 2, "a", replayed, "p")}, true},
		"another payload's replay":                {[]history.Call{call(0, 1, "a", executed, "p"), call(2, 3, "a", replayed, "q")}, false},
		"replays of an unknown execution":         {[]history.Call{call(0, 1, "a", unknown, ""), call(2, 3, "a", replayed, "p"), call(4, 5, "a", replayed, "p")}, true},
		"replays that differ":                     {[]history.Call{call(0, 1, "a", unknown, ""), call(2, 3, "a", replayed, "p"), call(4, 5, "a", replayed, "q")}, false},
		"an unknown call that never ran":          {[]history.Call{call(0, 1, "a", unknown, ""), call(2, 3, "b", executed, "p"), call(4, 5, "a", reused, "")}, true},
		"an execution beside a used key":          {[]history.Call{call(0, 1, "a", executed, "p"), call(2, 3, "b", executed, "q")}, false},
		"reused, though nothing was done":         {[]history.Call{call(0, 1, "a", reused, ""), call(2, 3, "b", executed, "p")}, false},
		"reused by its own payload":               {[]history.Call{call(0, 1, "a", executed, "p"), call(2, 3, "a", reused, "")}, false},
		"an invalid input before":                 {[]history.Call{call(0, 1, "x", invalid, ""), call(2, 3, "a", executed, "p")}, true},
		"an invalid input under a used key":       {[]history.Call{call(0, 1, "a", executed, "p"), call(2, 3, "x", invalid, "")}, false},
		"an acknowledged row that is lost":        {[]history.Call{call(0, 1, "a", executed, "p"), call(2, 3, "", stored, "")}, false},
		"a refused call that was executed":        {[]history.Call{call(0, 1, "a", refused, ""), call(2, 3, "a", stored, "")}, false},
		"an unknown call that was executed":       {[]history.Call{call(0, 1, "a", unknown, ""), call(2, 3, "a", stored, "")}, true},
		"the key expires early":                   {[]history.Call{call(0, 1, "a", executed, "p"), call(2, 3, "a", expired, "")}, false},
		"forgotten and executed again":            {[]history.Call{call(0, 1, "a", executed, "p"), call(2, 3, "forget", forgotten, ""), call(4, 5, "a", executed, "q")}, true},
		"forgotten by an unknown call":            {[]history.Call{call(0, 1, "a", executed, "p"), call(2, 3, "forget", unknown, ""), call(4, 5, "a", executed, "q")}, true},
		"replayed though forgotten":               {[]history.Call{call(0, 1, "a", executed, "p"), call(2, 3, "forget", forgotten, ""), call(4, 5, "a", replayed, "p")}, false},
		"replayed by a call that was joined":      {[]history.Call{call(0, 1, "a", executed, "p"), call(2, 3, "a", unknown, ""), call(4, 5, history.Forget, forgotten, ""), call(6, 7, "a", replayed, "p")}, true},
		"replayed by another's that was joined":   {[]history.Call{call(0, 1, "a", executed, "p"), call(2, 3, "b", unknown, ""), call(4, 5, history.Forget, forgotten, ""), call(6, 7, "a", replayed, "p")}, true},
		"nothing to forget of a used key":         {[]history.Call{call(0, 1, "a", executed, "p"), call(2, 3, "forget", nothing, "")}, false},
		"two unknown calls, a forget apart":       {[]history.Call{call(0, 1, "a", unknown, ""), call(0, 1, "a", unknown, ""), call(2, 3, "forget", forgotten, ""), call(4, 5, "a", replayed, "p")}, true},
		"two unknown calls, heard elsewhere":      {[]history.Call{call(0, 1, "a", unknown, ""), call(0, 1, "a", unknown, ""), call(2, 3, "forget", forgotten, ""), elsewhere(call(4, 5, "a", replayed, "p"))}, true},
		"replayed with one that was not done":     {[]history.Call{call(0, 1, "a", executed, "p"), call(2, 6, "a", replayed, "p"), call(3, 4, "forget", forgotten, ""), call(5, 7, "a", replayed, "p")}, true},
		"replayed elsewhere, though forgotten":    {[]history.Call{call(0, 1, "a", executed, "p"), call(2, 6, "a", replayed, "p"), call(3, 4, "forget", forgotten, ""), elsewhere(call(5, 7, "a", replayed, "p"))}, false},
		"another payload's, while one is right":   {[]history.Call{call(0, 1, "a", executed, "p"), call(2, 9, "a", replayed, "q"), call(3, 4, "a", replayed, "p")}, false},
		"reused by its own, while one is right":   {[]history.Call{call(0, 1, "a", executed, "p"), call(2, 9, "a", reused, ""), call(3, 4, "b", reused, "")}, false},
		"a replay of nothing, and one of a row":   {[]history.Call{call(0, 1, "a", replayed, "p"), call(2, 3, "a", executed, "p"), call(4, 5, "a", replayed, "p")}, false},
		"done twice, forgotten in between":        {[]history.Call{call(0, 9, "a", executed, "q"), call(1, 6, "forget", forgotten, ""), elsewhere(call(2, 3, "a", replayed, "p")), elsewhere(call(10, 11, "a", replayed, "q"))}, true},
		"done twice, forgotten before":            {[]history.Call{call(0, 1, "forget", forgotten, ""), call(2, 9, "a", executed, "q"), elsewhere(call(3, 4, "a", replayed, "p"))}, false},
		"done twice, there was nothing to forget": {[]history.Call{call(0, 9, "a", executed, "q"), call(1, 6, "forget", nothing, ""), elsewhere(call(2, 3, "a", replayed, "p"))}, false},
		"only one call, and it took effect twice": {[]history.Call{call(0, 1, "a", unknown, ""), call(2, 3, "forget", forgotten, ""), elsewhere(call(4, 5, "a", replayed, "p"))}, false},
	} {
		if got := history.Linearizable(test.calls); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// What nobody has found out is not shown.
func TestLinearizable_DoesNotTakeAnUnfinishedSearchForAnAnswer(t *testing.T) {
	t.Parallel()
	var calls []history.Call
	for i := range 40 {
		calls = append(calls, call(0, 1, fmt.Sprint(i), history.Unknown, ""), call(0, 1, history.Forget, history.Unknown, ""))
	}
	calls = append(calls, call(2, 3, "never sent", history.Stored, ""))
	if history.LinearizableWithin(calls, time.Millisecond) {
		t.Error("a search that did not end says yes")
	}
}

func TestBehindEdge(t *testing.T) {
	t.Parallel()
	const unknown, executed, replayed, stored = history.Unknown, history.Executed, history.Replayed, history.Stored
	crowd := []history.Call{call(0, 200, "a", executed, "p")}
	for i := range 60 { // None of them is implied by another.
		crowd = append(crowd, call(i+1, 100+i, "a", replayed, "p"))
	}
	for name, test := range map[string]struct {
		calls []history.Call
		want  bool
	}{
		"replays, and nobody heard of the execution": {[]history.Call{call(0, 1, "a", replayed, "p"), call(2, 3, "a", replayed, "p"), call(4, 5, "a", stored, "")}, true},
		"replays that differ":                        {[]history.Call{call(0, 1, "a", replayed, "p"), call(2, 3, "a", replayed, "q")}, false},
		"replays of two payloads":                    {[]history.Call{call(0, 1, "a", replayed, "p"), call(2, 3, "b", replayed, "q")}, false},
		"a replay before the execution":              {[]history.Call{call(0, 1, "a", replayed, "p"), call(2, 3, "a", executed, "p")}, false},
		"two executions":                             {[]history.Call{call(0, 1, "a", executed, "p"), call(2, 3, "a", executed, "p"), call(4, 5, "a", replayed, "p")}, false},
		"a replay, and the row is lost":              {[]history.Call{call(0, 1, "a", replayed, "p"), call(2, 3, "", stored, "")}, false},
		"an execution that is lost":                  {[]history.Call{call(0, 1, "a", unknown, ""), call(2, 3, "", stored, "")}, true},
		"forgotten, executed unheard, and replayed": {
			[]history.Call{call(0, 1, "a", executed, "p"), call(2, 3, history.Forget, history.Forgotten, ""), call(4, 5, "a", replayed, "q")}, true,
		},
		"a crowd": {crowd, true},
	} {
		if got := history.Linearizable(history.BehindEdge(test.calls)); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
