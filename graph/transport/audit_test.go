package transport_test

import (
	"encoding/json"
	"net/http/httptest"
	"testing"

	"github.com/onceql/onceql/graph/transport"
	"github.com/onceql/onceql/internal/npm"
)

// TestAudits runs the suite of npm's graphql-http in full: 61 audits, of which
// none may fail, warn or leave a notice.
func TestAudits(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(newServer(transport.Transport{}))
	defer server.Close()
	out, err := npm.Command(t, "audit", "node", "audit.mjs", server.URL+"/graphql").Output()
	if err != nil {
		t.Fatalf("running the audits: %v\n%s", err, out)
	}
	var results []struct{ ID, Name, Status, Reason string }
	if err := json.Unmarshal(out, &results); err != nil {
		t.Fatalf("reading the results: %v\n%s", err, out)
	}
	ok := 0
	for _, result := range results {
		if result.Status == "ok" {
			ok++
			continue
		}
		t.Errorf("%s %s: %s: %s", result.Status, result.ID, result.Name, result.Reason)
	}
	if ok != 61 || len(results) != 61 {
		t.Errorf("%d of %d audits are ok, want 61 of 61", ok, len(results))
	}
}
