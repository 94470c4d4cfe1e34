package e2e_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/onceql/onceql/internal/issuer"
	"github.com/onceql/onceql/internal/pgtest"
)

var (
	docTime  = regexp.MustCompile(`^time=\S+ `)
	docHash  = regexp.MustCompile(`keyHash=[0-9a-f]{16}`)
	docTrace = regexp.MustCompile(`race(Id)?=[0-9a-f]{32}`)
	docSpent = regexp.MustCompile(`duration=[0-9.]+(µs|ms|s)`)
)

// What docs/operations/traces.md shows is what a server says.
func TestTraces_AreAsDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(moduleRoot, "docs", "operations", "traces.md"))
	if err != nil {
		t.Fatal(err)
	}
	doc := string(text)
	i, c := issuer.New(t), newCollector(t)
	s := serveTo(t, i, pgtest.URL(t), c.env()...)
	token := bearer(i.Token("acme"))
	for _, id := range []string{"first", "second"} {
		s.send(create("k", "Apollo"), append(token, "X-Request-Id", id)...)
	}
	c.find(1, field, "onceql.outcome", "replayed")
	for i := 0; i < 100 && !strings.Contains(c.told(), "execute batch of "); i++ {
		startBurst(t, 32, []*server{s}, func(n int) request {
			return create(strings.Repeat("k", i+2)+string(rune('a'+n%26))+string(rune('a'+n/26)), "Apollo")
		}, token...).wait()
	}
	c.find(1, "execute batch of "+field, "", "")

	_, example, _ := strings.Cut(doc, "```\n")
	example, _, _ = strings.Cut(example, "```")
	var got strings.Builder
	for _, line := range s.stderr.lines() {
		if strings.Contains(line, `msg="call ended"`) && got.Len() < len(example) {
			line = docSpent.ReplaceAllString(docTrace.ReplaceAllString(docHash.ReplaceAllString(docTime.ReplaceAllString(line, ""), "keyHash=HASH"), "race${1}=TRACE"), "duration=DURATION")
			got.WriteString(line + "\n")
		}
	}
	if diff := cmp.Diff(example, got.String()); diff != "" {
		t.Errorf("the log of an execution and a replay (-docs +log):\n%s", diff)
	}
	for _, one := range c.all() {
		name := one.name
		if one.attributes["db.query.text"] != "" && name != "BATCH" {
			name = "INSERT"
		}
		if !strings.Contains(doc, "| `"+name+"`") {
			t.Errorf("the span %s is not documented", one.name)
		}
		for attribute := range one.attributes {
			if !strings.Contains(doc, "`"+attribute+"`") {
				t.Errorf("the attribute %s of %s is not documented", attribute, one.name)
			}
		}
		for _, to := range one.links {
			if !strings.Contains(doc, "| `"+to.what+"` |") {
				t.Errorf("the link %s is not documented", to.what)
			}
		}
	}
	for name := range c.of(c.find(1, field, "onceql.outcome", "executed")[0].trace) {
		if !slices.Contains([]string{"POST /graphql", field, "wait", "execute " + field, "claim", "effect", "commit", "BATCH", "INSERT", "wait for a connection", "SELECT"}, name) {
			t.Errorf("the trace has a span %s", name)
		}
	}
}
