// Package history keeps what callers did and heard, key by key, and checks that one
// caller after another could have heard the same.
package history

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// An Outcome is what a caller heard.
type Outcome int

const (
	// Unknown is no answer, or one that says to come again. The call may take effect at
	// any later time, or never.
	Unknown Outcome = iota
	// Executed is a success with a payload, of the call that had the effect.
	Executed
	// Replayed is a success with the payload of an earlier call.
	Replayed
	// Reused says that the key was used with another payload.
	Reused
	// Expired says that the key is no longer replayed.
	Expired
	// Invalid says that the input is refused, which it is only where it would be executed.
	Invalid
	// Refused is for a call that was turned away at the door.
	Refused
	// Forgotten is the answer of Forget where there was something.
	Forgotten
	// NothingToForget is its answer where there was nothing.
	NothingToForget
	// Stored is a look at the row, once all callers are done. Its Variant is the row's,
	// and empty where there is none.
	Stored
)

func (o Outcome) String() string {
	return [...]string{"unknown", "EXECUTED", "REPLAYED", "REUSED", "EXPIRED", "invalid input", "refused", "forgotten", "nothing to forget", "stored"}[o]
}

// Forget is the Variant of calls that forget the key.
const Forget = "forget"

// A Call is one request, or one try of it.
type Call struct {
	Key string
	// Variant names the payload that was sent.
	Variant string
	// Server names whom it was sent to.
	Server string
	// Called and Returned are since the start of the run.
	Called, Returned time.Duration
	Outcome          Outcome
	// Payload is what a success carried.
	Payload string
	// Why is what was heard where the outcome is unknown.
	Why string
	// Left says that nobody waited for the answer.
	Left bool
}

func (c Call) String() string {
	text := fmt.Sprintf("%12s to %12s  %-8s %-7s %s", c.Called.Round(time.Microsecond), c.Returned.Round(time.Microsecond), c.Server, c.Variant, c.Outcome)
	if detail := c.Payload + c.Why; detail != "" {
		text += "  " + detail
	}
	return text
}

// Success says whether the call was acknowledged.
func (c Call) Success() bool { return c.Outcome == Executed || c.Outcome == Replayed }

// Definite says whether the answer tells what became of the key.
func (c Call) Definite() bool {
	return c.Success() || c.Outcome == Reused || c.Outcome == Expired
}

// A History is what all callers did. Its methods may be called at the same time.
type History struct {
	mu    sync.Mutex
	calls map[string][]Call
	n     int
}

// Add keeps a call that has returned.
func (h *History) Add(c Call) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.calls == nil {
		h.calls = make(map[string][]Call)
	}
	h.calls[c.Key] = append(h.calls[c.Key], c)
	if c.Outcome != Stored {
		h.n++
	}
}

// Len is how many calls there were, without looks at rows.
func (h *History) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n
}

// Keys are the keys of all calls, in order.
func (h *History) Keys() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	keys := make([]string, 0, len(h.calls))
	for key := range h.calls {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// Of are the calls of a key, in the order in which they were called.
func (h *History) Of(key string) []Call {
	h.mu.Lock()
	defer h.mu.Unlock()
	calls := slices.Clone(h.calls[key])
	slices.SortStableFunc(calls, func(a, b Call) int { return int(a.Called - b.Called) })
	return calls
}

// Text is the key's calls, for people.
func (h *History) Text(key string) string {
	var text strings.Builder
	fmt.Fprintf(&text, "key %s\n", key)
	for _, c := range h.Of(key) {
		fmt.Fprintf(&text, "  %s\n", c)
	}
	return text.String()
}
