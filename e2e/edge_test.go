package e2e_test

import (
	"net"
	"net/http"
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
