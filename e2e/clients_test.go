package e2e_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/onceql/onceql/internal/issuer"
	"github.com/onceql/onceql/internal/npm"
	"github.com/onceql/onceql/internal/pgtest"
)

// The tests of this file start browsers and build tools, which take all cores: they run
// one after another, before those that run in parallel.

// clientsDir has the npm package and an example of each consumer.
var clientsDir = filepath.Join(moduleRoot, "clients")

// TestClients runs the tests of @onceql/client with the real clients and Chromium,
// and the example of each consumer, against a server.
func TestClients(t *testing.T) {
	address := pgtest.URL(t)
	s, database := serve(t, address), connect(t, address)
	clientPackage(t)
	t.Run("typescript", func(t *testing.T) {
		tests := npm.Command(t, clientsDir, "npm", "test", "-w", "typescript")
		tests.Env = append(tests.Environ(), "ONCEQL_URL="+s.url, "CI=true")
		tests.Stdout = t.Output()
		if err := tests.Run(); err != nil {
			t.Error(err)
		}
	})
	t.Run("examples/apollo", func(t *testing.T) {
		testExample(t, s, database, func(url, name string) *exec.Cmd {
			return npm.Command(t, clientsDir, "npm", "test", "-w", "examples/apollo", "--", url, name)
		})
	})
	t.Run("examples/urql", func(t *testing.T) {
		testExample(t, s, database, func(url, name string) *exec.Cmd {
			return npm.Command(t, clientsDir, "npm", "test", "-w", "examples/urql", "--", url, name)
		})
	})
	t.Run("examples/genqlient", func(t *testing.T) {
		dir := filepath.Join(clientsDir, "examples", "genqlient")
		tests := exec.CommandContext(t.Context(), "go", "test", "./...")
		tests.Dir = dir
		if out, err := tests.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		testExample(t, s, database, func(url, name string) *exec.Cmd {
			run := exec.CommandContext(t.Context(), "go", "run", ".", url, name)
			run.Dir, run.Stderr = dir, t.Output()
			return run
		})
	})
}

// TestClients_Apps makes the apps of docs/clients, as its pages say, and uses them in
// Chromium. It runs what relay-compiler, gql.tada and GraphQL Code Generator make, too.
func TestClients_Apps(t *testing.T) {
	s := serve(t, pgtest.URL(t))
	tests := npm.Command(t, filepath.Join(clientsDir, "apps"), "npm", "test")
	tests.Env = append(tests.Environ(), "ONCEQL_URL="+s.url, "ONCEQL_CLIENT="+clientPackage(t), "CI=true")
	tests.Stdout = t.Output()
	if err := tests.Run(); err != nil {
		t.Error(err)
	}
}

// TestClients_Matrix installs @onceql/client as npm packs it into an empty project of
// each kind, and lets it call a server. CLIENT_MATRIX=all takes all of a kind.
func TestClients_Matrix(t *testing.T) {
	s := serve(t, pgtest.URL(t))
	matrix := filepath.Join(clientsDir, "matrix")
	if os.Getenv("CLIENT_MATRIX") == "all" {
		npm.Install(t, filepath.Join(matrix, "newer"))
	}
	tests := npm.Command(t, matrix, "npm", "test")
	tests.Env = append(tests.Environ(), "ONCEQL_URL="+s.url, "ONCEQL_CLIENT="+clientPackage(t), "CI=true")
	tests.Stdout = t.Output()
	if err := tests.Run(); err != nil {
		t.Error(err)
	}
}

var packOnce sync.Once

// clientPackage returns the path of @onceql/client as npm packs it. It is built once:
// who uses what is built must not see it vanish.
func clientPackage(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join(moduleRoot, "bin", "clients"))
	if err != nil {
		t.Fatal(err)
	}
	packOnce.Do(func() {
		if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
			t.Fatal(err)
		}
		pack := npm.Command(t, clientsDir, "npm", "pack", "--silent", "-w", "typescript", "--pack-destination", dir)
		if out, err := pack.Output(); err != nil {
			t.Fatalf("packing @onceql/client: %v\n%s", err, out)
		}
	})
	packed, err := filepath.Glob(filepath.Join(dir, "onceql-client-*.tgz"))
	if err != nil || len(packed) != 1 {
		t.Fatalf("the packages of @onceql/client are %q, %v", packed, err)
	}
	return packed[0]
}

// TestPlayground runs the tests of the playground, in Chromium.
func TestPlayground(t *testing.T) {
	s := serve(t, pgtest.URL(t))
	if page := s.get("/"); !strings.Contains(page.raw, "/playground/assets/") {
		t.Fatal("the playground has not been built: make playground")
	}
	tests := npm.Command(t, filepath.Join(moduleRoot, "playground"), "npm", "test")
	closed := serve(t, pgtest.URL(t), "INTROSPECTION=false")
	i, guardedDatabase := issuer.New(t), pgtest.URL(t)
	guarded := serveTo(t, i, guardedDatabase)
	connect(t, guardedDatabase).fillKeys("full")
	keys := func(tenant string) string { return i.Sign(i.Claims(tenant, "keys:read")) }
	tests.Env = append(tests.Environ(), "ONCEQL_URL="+s.url, "ONCEQL_CLOSED_URL="+closed.url,
		"ONCEQL_GUARDED_URL="+guarded.url, "ONCEQL_TOKEN="+i.Token("playground"), "ONCEQL_KEYS_TOKEN="+keys("playground"),
		"ONCEQL_FULL_TOKEN="+keys("full"), "ONCEQL_EMPTY_TOKEN="+keys("<img src=x onerror=alert(1)>"), "CI=true")
	tests.Stdout = t.Output()
	if err := tests.Run(); err != nil {
		t.Error(err)
	}
}

// fillKeys stores 45 calls of the tenant, a minute apart: the newest has markup wherever there
// can be text, and the results of the oldest five are no longer replayed.
func (d *database) fillKeys(tenant string) {
	d.t.Helper()
	d.exec(`
		insert into idempotency_keys (scope, key, operation, request_hash, hash_version, response_json, request_id, trace_id, execution_id, created_at, expires_at, retained_until)
		select $1, case i when 0 then '<img src=x onerror=alert(1)> "key" ' || repeat('k', 220) else 'key ' || i end,
			case when i = 0 then '<script>alert(1)</script>' when i % 4 = 0 then 'archiveProject' else 'createProject' end,
			sha256(i::text::bytea), 1, '{"project":{"name":"secret"}}', case i when 0 then '<b>request</b>' else 'request-' || i / 3 end,
			case when i % 2 = 0 then md5(i::text) end, gen_random_uuid(), at, at + case when i < 40 then interval '24 hours' else interval '10 minutes' end, at + interval '72 hours'
		from generate_series(0, 44) i, lateral (select now() - i * interval '1 minute' as at) a`, tenant)
}

// testExample runs an example that creates a project of the name. The connection is
// cut when its first request has been executed: it has to try again, and the project
// whose id it prints is the only one.
func testExample(t *testing.T, s *server, database *database, example func(url, name string) *exec.Cmd) {
	t.Helper()
	upstream, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	var requests atomic.Int32
	network := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(upstream) },
		ModifyResponse: func(*http.Response) error {
			if requests.Add(1) == 1 {
				return errors.New("the first answer is lost")
			}
			return nil
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	})
	defer network.Close()

	name := "of " + t.Name()
	out, err := example(network.URL+"/graphql", name).Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if requests.Load() != 2 {
		t.Errorf("it sent %d requests, want 2", requests.Load())
	}
	lines := strings.Fields(string(out))
	id := lines[len(lines)-1]
	if got := database.count("select count(*) from projects where name = $1", name); got != 1 {
		t.Errorf("%d projects, want 1", got)
	}
	if got := database.count("select count(*) from projects where name = $1 and id::text = $2", name, id); got != 1 {
		t.Errorf("it printed %q, which is not its project:\n%s", id, out)
	}
}
