package idempotency

import "strings"

// trace is what the row keeps of the call's trace: its id, with a hyphen and the id of the
// span when that is known.
func (c Call) trace() string {
	if c.SpanID == "" {
		return c.TraceID
	}
	return c.TraceID + "-" + c.SpanID
}

// ofTrace is the ids of what a row keeps.
func ofTrace(kept string) (traceID, spanID string) {
	traceID, spanID, _ = strings.Cut(kept, "-")
	return traceID, spanID
}

// hexadecimal says whether the id is empty or so many digits.
func hexadecimal(id string, digits int) bool {
	return id == "" || len(id) == digits && strings.Trim(id, "0123456789abcdef") == ""
}
