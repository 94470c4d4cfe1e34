package e2e_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onceql/onceql/internal/npm"
)

// schemaChanges compares the schema before with the one of now, which are paths, and
// returns what it says and whether clients are safe.
func schemaChanges(t *testing.T, before, now, accepted string) (said string, safe bool) {
	t.Helper()
	output, err := npm.Command(t, clientsDir, "node", "schema-changes.mjs", before, now, accepted).Output()
	var exited *exec.ExitError
	if err != nil && (!errors.As(err, &exited) || exited.ExitCode() != 1) {
		t.Fatal(err)
	}
	return string(output), err == nil
}

// Front ends that were made for the build before go on with this one.
func TestSchema_BreaksNoClientOfTheBuildBefore(t *testing.T) {
	commit, err := previousCommit()
	if err != nil {
		t.Fatal(err)
	}
	schema, err := git("show", commit+":schema.graphql").Output()
	if err != nil {
		t.Fatal(err)
	}
	said, safe := schemaChanges(t, written(t, string(schema)), absolute(t, "schema.graphql"), absolute(t, "accepted-schema-changes"))
	t.Log(said)
	if !safe {
		t.Errorf("schema.graphql breaks clients of the build before, see docs/operations/upgrades.md:\n%s", said)
	}
}

func TestSchema_FailsForBreakingChanges(t *testing.T) {
	before := absolute(t, "schema.graphql")
	text, err := os.ReadFile(before)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		from, to string
		accepted string
		safe     bool
		said     string
	}{
		"no change":                  {"", "", "# A comment.\n", true, ""},
		"a field is removed":         {"\"\n  archivedAt: DateTime\n", "\"\n  removedAt: DateTime\n", "", false, "breaking: Project.archivedAt was removed."},
		"a field's type changes":     {"  version: Int!", "  version: Int", "", false, "breaking: Project.version changed type from Int! to Int."},
		"an argument is required":    {"input: ArchiveProjectInput!", "reason: String!, input: ArchiveProjectInput!", "", false, "breaking: A required arg reason on Mutation.archiveProject was added."},
		"an input field is required": {"  ifVersion: Int", "  ifVersion: Int!", "", false, "breaking: UpdateProjectInput.ifVersion changed type from Int to Int!."},
		"a default changes":          {"first: Int! = 20", "first: Int! = 10", "", true, "dangerous: Query.projects arg first has changed defaultValue from 20 to 10."},
		"a field is deprecated":      {"  version: Int!", "  version: Int! @deprecated(reason: \"use tag\")\n  tag: ID", "", true, "deprecated: Project.version: use tag"},
		"a field is added":           {"  version: Int!", "  version: Int!\n  tag: ID", "", true, ""},
		"a wanted change": {
			"  version: Int!", "  version: Int", "Project.version changed type from Int! to Int. | a project may have none\n", true,
			"breaking, accepted: Project.version changed type from Int! to Int. a project may have none",
		},
		"a wanted change without a reason": {"  version: Int!", "  version: Int", "Project.version changed type from Int! to Int.\n", false, "accepted without a reason: Project.version"},
		"one that is not made (any more)":  {"", "", "Project.tag was removed. | nobody reads it\n", false, "accepted, and there is no such change: Project.tag was removed."},
	} {
		t.Run(name, func(t *testing.T) {
			now := string(text)
			if c.from != "" && strings.Count(now, c.from) == 0 {
				t.Fatalf("the schema has no %q", c.from)
			}
			said, safe := schemaChanges(t, before, written(t, strings.Replace(now, c.from, c.to, 1)), written(t, c.accepted))
			if safe != c.safe || !strings.Contains(said, c.said) || c.said == "" && said != "" {
				t.Errorf("safe %t, want %t; it says\n%swant\n%s", safe, c.safe, said, c.said)
			}
		})
	}
}

// written returns the path of a file with that text.
func written(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "written")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// absolute returns the path of one of this repository's files.
func absolute(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(moduleRoot, name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}
