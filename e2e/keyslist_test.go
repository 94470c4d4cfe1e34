package e2e_test

import (
	"strings"
	"testing"

	"github.com/onceql/onceql/internal/pgtest"
)

// A list that leaves something out says so: one row where there were two would look as if
// there had been one execution.
func TestKeysList_SaysWhatItLeavesOut(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	d := connect(t, url)
	d.oldKeys("acme", 3)
	d.oldKeys("globex", 1)
	o := operate(t, "OPERATOR_DATABASE_URL="+pgtest.AsOperator(t, url))
	says := func(code int, want string, args ...string) {
		t.Helper()
		_, said := o.ends(code, append([]string{"list"}, args...)...)
		if said = strings.TrimSpace(said); !strings.Contains(said, want) || want == "" && said != "" {
			t.Errorf("list %q says %q, want %q", args, said, want)
		}
	}
	says(0, "", "--tenant", "acme", "--limit", "3")
	says(0, "the newest 2: there are more, see --limit", "--tenant", "acme", "--limit", "2")

	o.ends(0, "forget", "k1", "--tenant", "acme", "--reason", "r", "--yes")
	says(0, "forgot or removed 1 key", "--tenant", "acme", "--operation", "createProject", "--since", "1h")
	says(0, "forgot or removed 1 key")
	says(0, "", "--tenant", "globex")
	says(2, "No such call is known.", "--tenant", "acme", "--operation", "updateProject")
	says(0, "", "--to", "2999-01-01T00:00:00Z", "--tenant", "globex")
	if _, said := o.ends(2, "list", "--tenant", "acme", "--to", "2020-01-01T00:00:00Z"); strings.Contains(said, "forgot") {
		t.Errorf("what was executed later is told of: %s", said)
	}
	if _, said := o.ends(2, "list", "--tenant", "acme", "--from", "2999-01-01T00:00:00Z"); strings.Contains(said, "forgot") {
		t.Errorf("what was executed before is told of: %s", said)
	}
	o.ends(0, "forget", "--tenant", "globex", "--reason", "r", "--yes", "--all")
	says(2, "forgot or removed 1 key", "--tenant", "globex", "--operation", "createProject")

	server := operate(t, "DATABASE_URL="+grantedRole(t, url))
	if _, said := server.ends(0, "list", "--tenant", "acme"); !strings.Contains(said, "is not known") {
		t.Errorf("the server's role, which can't see what was forgotten, says %q", said)
	}
	if out, _ := server.ends(0, "show", "k2", "--tenant", "acme", "--json"); !strings.Contains(out, `"actions":null`) {
		t.Errorf("actions that can't be read are said to be none: %s", out)
	}
}

// A script whose variable is empty, or holds something else, is not told what it did not ask.
func TestKeysList_RefusesWhatNamesNothing(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	d := connect(t, url)
	d.oldKeys("acme", 2)
	trace := "0af7651916cd43dd8448eb211c80319c"
	d.exec(`update idempotency_keys set trace_id = $1 where key = 'k1'`, trace+"-b7ad6b7169203331")
	o := operate(t, "OPERATOR_DATABASE_URL="+pgtest.AsOperator(t, url))
	for _, flag := range []string{"--operation=", "--request=", "--trace=", "--trace=edge-1", "--trace=" + trace + "-"} {
		if out, said := o.ends(1, "list", flag); out != "" || !strings.Contains(said, "--") {
			t.Errorf("%s prints %s%s", flag, out, said)
		}
	}
	// As logs, the table's column and other systems write it.
	for _, id := range []string{trace, trace + "-b7ad6b7169203331", strings.ToUpper(trace)} {
		if out, _ := o.ends(0, "list", "--trace", id); strings.Count(out, "\n") != 2 {
			t.Errorf("--trace %s lists\n%s", id, out)
		}
	}
}

// Help is printed as it was written: kong reads a text as go/doc does, where two single quotes
// are one closing quotation mark, which a shell does not know.
func TestOperators_AreHelpedWithWhatAShellTakes(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"tenant", "show"}, {"tenant", "export"}, {"tenant", "remove"}, {"key", "list"}, {"key", "forget"}} {
		output, err := command(t, nil, append(args, "--help")...).CombinedOutput()
		if err != nil || strings.ContainsAny(string(output), "“”‘’") {
			t.Errorf("%q --help: %v\n%s", args, err, output)
		}
	}
}
