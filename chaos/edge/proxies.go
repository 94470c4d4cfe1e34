package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/onceql/onceql/chaos/load"
	"github.com/onceql/onceql/chaos/sandbox"
)

// address is where the edge listens, and host is its name, which the servers know by
// ALLOWED_HOSTS.
const (
	address = "127.0.0.1:8080"
	host    = "api.example.com"
)

// A kind of edge, with its configuration from deploy/. Only addresses are the run's own.
type kind struct {
	// dirs are where its package keeps what it writes.
	dirs []string
	// buffered is the largest body in bytes that the edge sends again.
	buffered int
	// start starts it before the servers, in the directory of a run. Its log goes to log.
	start func(work string, log *os.File, servers []string) (*sandbox.Process, error)
	// log is where its requests are logged, in the directory of a run.
	log string
	// retried finds the line of a request that was sent to a server more than once, and left
	// that of a client that did not wait.
	retried, left *regexp.Regexp
}

// large is a body that nginx keeps in a file and HAProxy's buffer has no room for.
const large = 300 << 10

var kinds = map[string]*kind{
	"nginx": {
		dirs: []string{"/var/lib/nginx", "/var/log/nginx"}, buffered: 1 << 20, start: startNginx,
		log: "/var/log/nginx/onceql.log", retried: regexp.MustCompile(` upstream="[^"]*,`), left: regexp.MustCompile(` status=499 `),
	},
	"haproxy": {
		buffered: 126 << 10, start: startHAProxy,
		log: "edge.log", retried: regexp.MustCompile(` retries=\+?[1-9]`), left: regexp.MustCompile(` state=C`),
	},
}

func startNginx(work string, log *os.File, servers []string) (*sandbox.Process, error) {
	deployed := filepath.Join("..", "deploy", "nginx")
	conf := filepath.Join(work, "nginx")
	if err := os.MkdirAll(filepath.Join(conf, "onceql"), 0o755); err != nil { //nolint:gosec // No secrets.
		return nil, err
	}
	addresses, err := os.ReadFile(filepath.Join(deployed, "onceql", "servers.conf"))
	if err != nil {
		return nil, err
	}
	addresses, err = replace(addresses, map[string]string{"10.0.0.11:8080": servers[0], "10.0.0.12:8080": servers[1]})
	if err != nil {
		return nil, err
	}
	listen, err := os.ReadFile(filepath.Join(deployed, "onceql", "listen.conf"))
	if err != nil {
		return nil, err
	}
	listen, err = replace(listen, map[string]string{"listen 80;": "listen " + address + ";"})
	if err != nil {
		return nil, err
	}
	onceql, err := filepath.Abs(filepath.Join(deployed, "onceql.conf"))
	if err != nil {
		return nil, err
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;\n" // The sandbox has directories of one user alone.
	}
	// As /etc/nginx/nginx.conf of Debian's package, which includes conf.d/*.conf.
	text := user + "daemon off;\npid " + filepath.Join(work, "nginx.pid") + ";\nerror_log stderr notice;\nworker_processes 2;\n" +
		"events { worker_connections 2048; }\nhttp { include " + onceql + "; }\n"
	for name, content := range map[string][]byte{
		"nginx.conf": []byte(text), "onceql/servers.conf": addresses, "onceql/listen.conf": listen,
	} {
		if err := os.WriteFile(filepath.Join(conf, name), content, 0o644); err != nil { //nolint:gosec // No secrets.
			return nil, err
		}
	}
	return sandbox.Start(log, nil, nil, "/usr/sbin/nginx", "-c", filepath.Join(conf, "nginx.conf"))
}

// replace has each of the addresses replaced wherever it occurs, and fails where one does
// not.
func replace(text []byte, addresses map[string]string) ([]byte, error) {
	for from, to := range addresses {
		if !bytes.Contains(text, []byte(from)) {
			return nil, fmt.Errorf("the configuration does not have %q", from)
		}
		text = bytes.ReplaceAll(text, []byte(from), []byte(to))
	}
	return text, nil
}

func startHAProxy(work string, log *os.File, servers []string) (*sandbox.Process, error) {
	conf, err := filepath.Abs(filepath.Join("..", "deploy", "haproxy", "haproxy.cfg"))
	if err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		if conf, err = withoutRoot(work, conf); err != nil {
			return nil, err
		}
	}
	env := []string{"ONCEQL_LISTEN=" + address, "ONCEQL_A=" + servers[0], "ONCEQL_B=" + servers[1]}
	return sandbox.Start(log, env, nil, "/usr/sbin/haproxy", "-db", "-f", conf)
}

// rights are the lines by which HAProxy gives up those of root, which only root can do.
var rights = regexp.MustCompile(`(?m)^    (chroot|user|group) .*\n`)

// withoutRoot writes the configuration for a user who is not root.
func withoutRoot(work, conf string) (string, error) {
	text, err := os.ReadFile(conf)
	if err != nil {
		return "", err
	}
	own := filepath.Join(work, "haproxy.cfg")
	return own, os.WriteFile(own, rights.ReplaceAll(text, nil), 0o644) //nolint:gosec // No secrets.
}

// edge is the target of all calls.
var edge = load.Target{Name: "edge", URL: "http://" + address, Host: host, Edge: true, Other: func() bool { return false }}

// allowed is the form of a request's id, of which a line of a log can't be forged.
var allowed = regexp.MustCompile(`^[A-Za-z0-9._:/+=-]{1,128}$`)

// await waits until the edge answers, and checks that it shows what it should and no more.
func (k *kind) await(process *sandbox.Process) error {
	client := http.Client{Timeout: 5 * time.Second}
	get := func(path string, ids ...string) (status int, header http.Header, err error) {
		request, err := http.NewRequest(http.MethodGet, edge.URL+path, nil)
		if err != nil {
			return 0, nil, err
		}
		request.Host = host
		request.Header["X-Request-Id"] = ids
		response, err := client.Do(request)
		if err != nil {
			return 0, nil, err
		}
		defer func() { _ = response.Body.Close() }()
		_, err = io.Copy(io.Discard, response.Body)
		return response.StatusCode, response.Header, err
	}
	var err error
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		var status int
		if status, _, err = get("/schema.graphql"); err == nil && status == http.StatusOK {
			break
		}
		if !process.Running() || time.Now().After(deadline) {
			return errors.Join(errors.New("the edge does not serve"), err)
		}
	}
	for path, want := range map[string]int{"/": 200, "/graphql?query={__typename}": 200, "/metrics": 404, "/readyz": 404, "/healthz": 404} {
		status, header, err := get(path)
		if err != nil || status != want {
			return fmt.Errorf("the edge answers %d to GET %s, want %d: %w", status, path, want, err)
		}
		if ids := header.Values("X-Request-Id"); len(ids) != 1 || ids[0] == "" {
			return fmt.Errorf("GET %s is answered with the request's ids %q, want one", path, ids)
		}
	}
	for _, id := range []string{"a:client's", `a-client-s,another" status=200`} {
		_, header, err := get("/graphql?query={__typename}", id)
		if got := header.Get("X-Request-Id"); err != nil || !allowed.MatchString(got) {
			return fmt.Errorf("a request with the id %q is answered with %q: %w", id, got, err)
		}
	}
	const id = "a:client-s/1"
	_, header, err := get("/graphql?query={__typename}", id)
	if got := header.Get("X-Request-Id"); err != nil || got != id {
		return fmt.Errorf("a request with the id %q is answered with %q: %w", id, got, err)
	}
	// The edge may take any of several, but none in the place of the one that it looked at.
	for _, ids := range [][]string{{id, "a client's"}, {"a client's", id}} {
		_, header, err := get("/graphql?query={__typename}", ids...)
		if got := header.Get("X-Request-Id"); err != nil || !allowed.MatchString(got) {
			return fmt.Errorf("a request with the ids %q is answered with %q: %w", ids, got, err)
		}
	}
	return nil
}

// retries are the requests that an edge sent to a server more than once: those that were
// answered with 200 then, those whose client had left, and those that failed all the same.
type retries struct{ healed, left, failed int }

func (r retries) all() int { return r.healed + r.left + r.failed }

// retries counts them in the edge's log.
func (k *kind) retries(work string) (r retries, err error) {
	path := k.log
	if !filepath.IsAbs(path) {
		path = filepath.Join(work, path)
	}
	log, err := os.Open(path)
	if err != nil {
		return r, err
	}
	defer func() { _ = log.Close() }()
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		switch line := lines.Text(); {
		case !strings.Contains(line, "/graphql\"") || !k.retried.MatchString(line):
		case k.left.MatchString(line):
			r.left++
		case strings.Contains(line, " status=200 "):
			r.healed++
		default:
			r.failed++
		}
	}
	return r, lines.Err()
}
