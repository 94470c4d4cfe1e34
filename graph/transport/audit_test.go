package transport_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"

	"github.com/onceql/onceql/graph/transport"
)

// TestAudits runs the suite of npm's graphql-http in full: 61 audits, of which
// none may fail, warn or leave a notice.
func TestAudits(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatal("the audits of GraphQL over HTTP run on Node: install Node 20 or newer, with npm")
		}
	}
	const dir = "audit"
	if _, err := os.Stat(dir + "/node_modules/graphql-http"); errors.Is(err, fs.ErrNotExist) {
		install := exec.CommandContext(t.Context(), "npm", "ci", "--no-progress")
		install.Dir = dir
		if out, err := install.CombinedOutput(); err != nil {
			t.Fatalf("npm could not install the audits, it needs its registry once: %v\n%s", err, out)
		}
	}
	server := httptest.NewServer(newServer(transport.Transport{}))
	defer server.Close()
	audit := exec.CommandContext(t.Context(), "node", "audit.mjs", server.URL+"/graphql")
	audit.Dir = dir
	audit.Stderr = t.Output()
	out, err := audit.Output()
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
