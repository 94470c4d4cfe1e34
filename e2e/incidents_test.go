package e2e_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/onceql/onceql/internal/issuer"
	"github.com/onceql/onceql/internal/operator"
	"github.com/onceql/onceql/internal/pgtest"
)

var update = flag.Bool("update", false, "write the output of its commands into docs/operations/incidents.md")

const incidents = moduleRoot + "/docs/operations/incidents.md"

// Every command that docs/operations/incidents.md shows is run, in order, after what it tells
// of has happened. What it prints stands there, but for times and whatever follows from them.
func TestIncidents_AreAnsweredAsTheDocsSay(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	i := issuer.New(t)
	s, d := serveTo(t, i, url), connect(t, url)
	acme, globex := bearer(i.Token("acme")), bearer(i.Token("globex"))
	call := func(r request, header []string, id string) {
		wantStatus(t, s.send(r, append([]string{"X-Request-Id", id}, header...)...), "EXECUTED")
	}
	described := createWith("order-7", map[string]any{"name": "Apollo", "description": nil})
	call(create("order-7", "Apollo"), acme, "edge-1001")
	wantStatus(t, s.send(create("order-7", "Apollo"), acme...), "REPLAYED")
	wantCode(t, s.send(described, acme...), "IDEMPOTENCY_KEY_REUSED")
	call(create("order-7b", "Apollo"), acme, "edge-1007")
	call(create("order-7", "Gemini"), globex, "edge-2002")
	d.exec(`update idempotency_keys set created_at = created_at - interval '10 seconds' where key = 'order-7' and scope = 'globex'`)
	s.stop() // It would purge these.
	d.exec(`insert into idempotency_keys (scope, key, operation, request_hash, hash_version, response_json, execution_id, created_at, expires_at, retained_until)
		select 'umbra', 'k' || i, 'createProject', sha256('a'), 1, '{}', gen_random_uuid(), now() - interval '4 days', now() - interval '3 days', now() - interval '1 day'
		from generate_series(1, 1200) i`)

	text, err := os.ReadFile(incidents)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, r := range map[string]request{"request.json": described, "first.json": create("order-7", "Apollo")} {
		r.Query = `mutation ($input: CreateProjectInput!, $key: String!) { createProject(input: $input, idempotencyKey: $key) {project{id}} }`
		body, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), append(body, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := regexp.MustCompile("(?s)```console\n(.*?)```").ReplaceAllStringFunc(string(text), func(block string) string {
		var out strings.Builder
		out.WriteString("```console\n")
		for line := range strings.Lines(block) {
			script, isCommand := strings.CutPrefix(line, "$ ")
			if !isCommand {
				continue
			}
			out.WriteString(line)
			cmd := inShell(t, "set +e\n"+script)
			cmd.Dir = dir
			cmd.Env = append(cmd.Env, "OPERATOR_DATABASE_URL="+pgtest.AsOperator(t, url))
			output, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v\n%s", script, err, output)
			}
			out.Write(output)
		}
		return out.String() + "```"
	})
	got = strings.ReplaceAll(got, operator.Who(), "ops@db1")
	if *update {
		if err := os.WriteFile(incidents, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(normal(string(text)), normal(got)); diff != "" {
		t.Errorf("docs/operations/incidents.md (-) and what the commands print (+); `go test ./e2e -run Incidents -update` writes it:\n%s", diff)
	}
}

// normal is the text without what each run has of its own.
func normal(text string) string {
	for pattern, with := range map[string]string{
		`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`: "<id>",
		`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`:                       "<time>",
		`\d+ bytes`: "<n> bytes",
	} {
		text = regexp.MustCompile(pattern).ReplaceAllString(text, with)
	}
	return text
}
