package e2e_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// nginx stands before two servers, as deploy/nginx has it.
type nginx struct {
	server
	log string
}

// newEdge starts nginx, which is stopped after the test. Only addresses and places are the
// test's own.
func newEdge(t testing.TB, first, second *server) *nginx {
	t.Helper()
	dir, address := t.TempDir(), freeAddress(t)
	log := filepath.Join(dir, "onceql.log")
	text := "daemon off;\npid " + dir + "/pid;\nerror_log stderr notice;\nevents {}\nhttp {\ninclude " + dir + "/onceql.conf;\n"
	if os.Geteuid() == 0 {
		text = "user root;\n" + text // The directory is one user's alone.
	}
	for _, of := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		text += of + "_temp_path " + filepath.Join(dir, of) + ";\n"
	}
	conf := filepath.Join(dir, "nginx.conf")
	deployed := filepath.Join(moduleRoot, "deploy", "nginx")
	if err := os.CopyFS(dir, os.DirFS(deployed)); err != nil {
		t.Fatal(err)
	}
	for path, with := range map[string][]string{
		"onceql.conf":         {"/var/log/nginx/onceql.log", log},
		"onceql/listen.conf":  {"listen 80;", "listen " + address + ";"},
		"onceql/servers.conf": {"10.0.0.11:8080", first.address(), "10.0.0.12:8080", second.address()},
	} {
		path = filepath.Join(dir, path)
		written, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(with); i += 2 {
			if !strings.Contains(string(written), with[i]) {
				t.Fatalf("%s does not say %q", path, with[i])
			}
		}
		if err := os.WriteFile(path, []byte(strings.NewReplacer(with...).Replace(string(written))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(conf, []byte(text+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e := &nginx{log: log, server: *start(t, exec.Command("/usr/sbin/nginx", "-c", conf))}
	e.url = "http://" + address
	eventually(t, "nginx to serve", func() bool {
		response, err := prober.Get(e.url + "/schema.graphql")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return e
}

// freeAddress is one that nobody listens on.
func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// sentAgain is how many requests nginx sent to more than one server.
func (e *nginx) sentAgain() (n int) {
	e.t.Helper()
	text, err := os.ReadFile(e.log)
	if err != nil {
		e.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if _, upstream, _ := strings.Cut(line, `upstream="`); strings.Contains(strings.SplitN(upstream, `"`, 2)[0], ", ") {
			n++
		}
	}
	return n
}

// A client of HTTP/1.0 names no host, and OnceQL asks of HTTP/1.1 that there is one.
func TestEdge_HTTP10WithoutHost(t *testing.T) {
	t.Parallel()
	hosts := make(chan string, 4)
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { hosts <- r.Host }))
	t.Cleanup(upstream.Close)
	behind := &server{t: t, url: upstream.URL}
	edge := newEdge(t, behind, behind)
	<-hosts // It was asked whether it serves.
	connection, err := net.Dial("tcp", edge.address())
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if _, err := io.WriteString(connection, "GET /graphql HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(connection)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(answer), "HTTP/1.1 200 ") {
		t.Fatalf("the answer is %s", answer)
	}
	if host := <-hosts; host != "api.example.com" {
		t.Errorf("the server is asked as %q", host)
	}
}
