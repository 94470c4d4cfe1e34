package e2e_test

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/onceql/onceql/internal/issuer"
	"github.com/onceql/onceql/internal/pgtest"
)

// The commands of docs/operations/tenants.md print what stands there, but for times, ids,
// numbers of bytes and the width of columns.
func TestTenants_AreOperatedAsTheDocsSay(t *testing.T) {
	t.Parallel()
	url, i := pgtest.URL(t), issuer.New(t)
	operator := pgtest.AsOperator(t, url)
	s := serveTo(t, i, url, withMetrics, "METRICS_TENANTS=true", "OPERATOR_DATABASE_URL="+operator)
	acme, globex := bearer(i.Token("acme")), bearer(i.Token("globex"))
	first := s.send(create("1", "Apollo"), acme...)
	wantStatus(t, first, "EXECUTED")
	wantStatus(t, s.send(create("2", "Gemini"), acme...), "EXECUTED")
	wantStatus(t, s.send(rename("3", first.project().ID, "Artemis"), acme...), "EXECUTED")
	wantStatus(t, s.send(create("1", "Apollo"), acme...), "REPLAYED")
	wantStatus(t, s.send(create("2", "Gemini"), acme...), "REPLAYED")
	wantStatus(t, s.send(create("1", "Apollo"), globex...), "EXECUTED")
	eventually(t, "the server to say where its metrics are", func() bool { return s.metricsURL() != "" })
	d, dir := connect(t, url), t.TempDir()

	blocks := consoles(t, "operations/tenants.md")
	if len(blocks) < 5 {
		t.Fatalf("the docs have %d blocks", len(blocks))
	}
	for _, block := range blocks {
		for _, example := range strings.Split(block, "\n$ ") {
			command, want, _ := strings.Cut(strings.TrimPrefix(example, "$ "), "\n")
			cmd := inShell(t, strings.ReplaceAll(command, "http://127.0.0.1:9090", strings.TrimSuffix(s.metricsURL(), "/metrics")))
			cmd.Env = append(cmd.Env, "OPERATOR_DATABASE_URL="+operator)
			cmd.Dir = dir
			output, _ := cmd.CombinedOutput() // The exit code is that of what it says.
			if diff := cmp.Diff(likely(want), likely(string(output))); diff != "" {
				t.Errorf("%s\n%s", command, diff)
			}
			if strings.Contains(want, "nothing is removed") {
				d.exec(`update idempotency_keys set created_at = created_at - interval '1 hour'`)
			}
		}
	}
	wantExport(t, filepath.Join(dir, "acme.jsonl"))
	// A removed key is new.
	wantStatus(t, s.send(create("1", "Apollo"), acme...), "EXECUTED")
	wantStatus(t, s.send(create("1", "Apollo"), globex...), "REPLAYED")
}

func wantExport(t testing.TB, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("the export's mode is %v", info.Mode())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(text), "\n"); lines != 7 || !strings.HasSuffix(string(text), "{\"end\":{\"projects\":2,\"keys\":3}}\n") {
		t.Errorf("the export has %d lines:\n%s", lines, text)
	}
}

// consoles returns the blocks of the docs that have commands and what they print.
func consoles(t testing.TB, path string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(moduleRoot, "docs", path))
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```console\n")[1:]
	for i := range blocks {
		blocks[i], _, _ = strings.Cut(blocks[i], "```\n")
	}
	return blocks
}

var varying = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT[\d:.]+Z`), "TIME"},
	{regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`), "ID"},
	{regexp.MustCompile(`\d+m?\d*s ago`), "AGO"},
	{regexp.MustCompile(`\b[1-9]\d{2}\b`), "BYTES"},
	{regexp.MustCompile(` +`), " "},
}

// likely replaces what differs from run to run.
func likely(text string) string {
	for _, of := range varying {
		text = of.pattern.ReplaceAllString(text, of.instead)
	}
	return strings.TrimSpace(text)
}

// What can't be asked of a server is said.
func TestTenants_CommandsSayWhatIsMissing(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s := serve(t, url, withMetrics)
	eventually(t, "the server to say where its metrics are", func() bool { return s.metricsURL() != "" })
	metrics := strings.TrimSuffix(s.metricsURL(), "/metrics")
	if status, _ := fetch(t, metrics+"/tenants"); status != 404 {
		t.Errorf("/tenants is served though nobody asked for it: %d", status)
	}
	role := "DATABASE_URL=" + pgtest.AsRole(t, url)
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"tenant", "list"}, 1, "OPERATOR_DATABASE_URL"},
		{[]string{"tenant", "remove", "acme", "--reason", "x", "--yes"}, 1, "OPERATOR_DATABASE_URL"},
		{[]string{"tenant", "remove", "acme", "--reason", "x"}, 1, "--yes"},
		{[]string{"tenant", "remove", "acme", "--yes"}, 1, "--reason"},
		{[]string{"tenant", "list", "--limit", "0"}, 1, "--limit"},
		{[]string{"tenant", "show", "acme", "--timeout", "0s"}, 1, "--timeout"},
		{[]string{"tenant", "show"}, 1, "tenant"},
		{[]string{"serve", "--metrics-tenants"}, 1, "METRICS_ADDR"},
	} {
		output, code := outcome(t, command(t, []string{role}, test.args...))
		if code != test.code || !strings.Contains(output, test.want) {
			t.Errorf("%q: %d %s", test.args, code, output)
		}
	}
	owner := "OPERATOR_DATABASE_URL=" + url // Above row-level security.
	nothing := filepath.Join(t.TempDir(), "nothing.jsonl")
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"tenant", "list"}, 2, "Nothing is stored for any tenant."},
		{[]string{"tenant", "show", ""}, 2, "Nothing is stored for this tenant."},
		{[]string{"tenant", "show", "--json", "--", "-x\x1b[31m"}, 2, `"-x\u001b[31m"`},
		{[]string{"tenant", "export", ""}, 2, "Nothing is stored for this tenant."},
		{[]string{"tenant", "export", "", "--output", nothing}, 2, "Nothing is stored for this tenant."},
		{[]string{"tenant", "remove", "", "--reason", "x", "--yes"}, 2, "Nothing is stored for this tenant."},
		{[]string{"tenant", "show", "acme", "--server", metrics}, 1, "METRICS_TENANTS=true"},
		{[]string{"tenant", "list", "--server", "127.0.0.1:1"}, 1, "not an address"},
	} {
		output, code := outcome(t, command(t, []string{owner}, test.args...))
		if code != test.code || !strings.Contains(output, test.want) {
			t.Errorf("%q: %d %s", test.args, code, output)
		}
	}
	if _, err := os.Stat(nothing); !os.IsNotExist(err) {
		t.Errorf("an export that is not whole is left: %v", err)
	}
}

// What a server answers is shown to no terminal as it is, and no password of its address.
func TestTenants_ShowNothingThatATerminalObeys(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	address := forging(t)
	cmd := command(t, []string{"OPERATOR_DATABASE_URL=" + url}, "tenant", "list", "--server", "http://a:secret@"+address)
	output, code := outcome(t, cmd)
	if code != 1 || !strings.Contains(output, "503") || strings.Contains(output, "secret") {
		t.Errorf("%d %s", code, output)
	}
	wantPlain(t, output)
	output, _ = outcome(t, command(t, []string{"LISTEN_ADDR=" + address}, "healthcheck"))
	if strings.Count(output, "\n") != 1 || !strings.Contains(output, "503") {
		t.Errorf("healthcheck says %s", output)
	}
	wantPlain(t, output)
}

// forging is the address of a server whose answers would forge lines and titles on terminals.
func forging(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = io.WriteString(conn, "HTTP/1.1 503 \x1b]0;owned\x07\r\nConnection: close\r\n\r\n\x1b[2Jx\nforged")
			_ = conn.Close()
		}
	}()
	return listener.Addr().String()
}

// outcome runs the command, and returns what it prints and its exit code.
func outcome(t testing.TB, cmd *exec.Cmd) (string, int) {
	t.Helper()
	cmd.Stdin = strings.NewReader("") // No terminal.
	output, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(output), cmd.ProcessState.ExitCode()
}
