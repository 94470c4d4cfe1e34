package e2e_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// A callLine is what the log, as JSON, says of a call that ended.
type callLine struct {
	Level, Msg                  string
	Operation, Outcome, Tenant  string
	KeyHash, RequestID, TraceID string
	ExecutedBy, ExecutedByTrace string
	Duration                    int64
}

// callLines are those of the server's log, without what they all say.
func callLines(t testing.TB, s *server) (lines []callLine) {
	t.Helper()
	for _, text := range s.stderr.lines() {
		var line callLine
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if line.Msg != "call ended" {
			continue
		}
		line.Msg, line.Tenant = "", strings.TrimSpace(line.Tenant)
		lines = append(lines, line)
	}
	return lines
}
