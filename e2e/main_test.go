// The tests of this package build the real program, run it, and speak to it as its
// clients do.
package e2e_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/onceql/onceql/internal/pgtest"
)

// moduleRoot is where the program and its clients are.
const moduleRoot = ".."

func TestMain(m *testing.M) {
	defer func() { _ = os.RemoveAll(programs.dir) }()
	pgtest.Main(m)
}

// programs holds the programs under test while the tests run.
var programs struct {
	sync.Mutex
	dir string
}

// programPath is where a program of that name is to be built.
func programPath(name string) (string, error) {
	programs.Lock()
	defer programs.Unlock()
	if programs.dir == "" {
		dir, err := os.MkdirTemp("", "onceql-program-")
		if err != nil {
			return "", err
		}
		programs.dir = dir
		// The embedded PostgreSQL's supervisor may be another user.
		if err := os.Chmod(dir, 0o755); err != nil {
			return "", err
		}
	}
	return filepath.Join(programs.dir, name), nil
}

// A build is a program under test: it is built once, and returns its path.
type build func() (string, error)

// program is the build of these sources.
var program build = sync.OnceValues(func() (string, error) {
	if err := nameSources(); err != nil {
		return "", err
	}
	path, err := programPath("onceql")
	if err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-buildvcs=false", "-o", path)
	build.Dir = moduleRoot
	if raceDetector {
		build.Args = append(build.Args, "-race")
	}
	build.Args = append(build.Args, ".")
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the program: %w\n%s", err, output)
	}
	return path, nil
})

// nameSources looks at every file that the program and its clients are made of. `go
// test` keeps a result as long as what the test itself looked at is the same, and
// knows nothing of what `go build` and npm read.
func nameSources() error {
	return filepath.WalkDir(moduleRoot, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // Removed since, as build output may be.
			return nil
		case err != nil:
			return err
		case !entry.IsDir():
			_, _ = os.Stat(path)
		case path != moduleRoot && (entry.Name()[0] == '.' || entry.Name() == "node_modules" || entry.Name() == "bin"):
			return fs.SkipDir
		}
		return nil
	})
}

// A server is one process of the program under test.
type server struct {
	t       testing.TB
	url     string
	process *os.Process
	stdout  *output
	stderr  *output
	// ended is closed when the process has ended, with state set.
	ended chan struct{}
	state *os.ProcessState
}

// command returns the program with the environment, and nothing of the tests'
// own but what every program and the race detector need.
func command(t testing.TB, env []string, args ...string) *exec.Cmd {
	t.Helper()
	return program.command(t, env, args...)
}

func (b build) command(t testing.TB, env []string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := b()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "GORACE=" + os.Getenv("GORACE"), "LISTEN_ADDR=127.0.0.1:0",
	}, env...)
	return cmd
}

// serve starts a server on the database, as a role that row-level security holds
// back, and waits until it says where it is. It is stopped after the test. Its time
// is ample unless env says otherwise, so that a busy machine fails no test.
func serve(t testing.TB, databaseURL string, env ...string) *server {
	t.Helper()
	return program.serve(t, databaseURL, env...)
}

func (b build) serve(t testing.TB, databaseURL string, env ...string) *server {
	t.Helper()
	s := b.launch(t, append([]string{
		"DATABASE_URL=" + pgtest.AsRole(t, databaseURL), "MIGRATION_DATABASE_URL=" + databaseURL, "IDEMPOTENCY_WAIT=50s", "IDEMPOTENCY_BUDGET=50s", "DRAIN_TIMEOUT=50s",
	}, env...)...)
	s.awaitURL()
	return s
}

// launch starts a server and does not wait for it.
func launch(t testing.TB, env ...string) *server {
	t.Helper()
	return program.launch(t, env...)
}

func (b build) launch(t testing.TB, env ...string) *server {
	t.Helper()
	return start(t, b.command(t, append([]string{"LOG_LEVEL=debug"}, env...)))
}

// start starts the command, which is a server.
func start(t testing.TB, cmd *exec.Cmd) *server {
	t.Helper()
	s := &server{t: t, stdout: &output{}, stderr: &output{}, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = s.stdout, s.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.process = cmd.Process
	go func() {
		_ = cmd.Wait()
		s.state = cmd.ProcessState
		close(s.ended)
	}()
	t.Cleanup(func() {
		s.stop()
		if strings.Contains(s.stderr.String(), "DATA RACE") {
			t.Errorf("the server has a data race:\n%s", s.stderr)
		}
	})
	return s
}

// awaitURL waits until the server says where its API is.
func (s *server) awaitURL() {
	s.t.Helper()
	eventually(s.t, "the server to say where it is", func() bool {
		for line := range strings.Lines(s.stdout.String()) {
			if fields := strings.Fields(line); len(fields) == 2 && fields[0] == "API" {
				s.url = strings.TrimSuffix(fields[1], "/graphql")
				return true
			}
		}
		select {
		case <-s.ended:
			s.t.Fatalf("the server ended with %v:\n%s", s.state, s.stderr)
		default:
		}
		return false
	})
}

// terminate asks the server to end; wait tells how it did.
func (s *server) terminate() { _ = s.process.Signal(syscall.SIGTERM) }

// kill ends the server at once, as a crash would.
func (s *server) kill() {
	_ = s.process.Kill()
	<-s.ended
}

// wait returns the exit code of a server that is about to end.
func (s *server) wait() int {
	s.t.Helper()
	select {
	case <-s.ended:
		return s.state.ExitCode()
	case <-time.After(testTimeout):
		s.t.Fatalf("the server does not end:\n%s", s.stderr)
		return -1
	}
}

func (s *server) stop() {
	s.terminate()
	select {
	case <-s.ended:
	case <-time.After(testTimeout):
		s.kill()
		s.t.Errorf("the server did not end by itself:\n%s", s.stderr)
	}
}

// address is the server's host and port.
func (s *server) address() string {
	parsed, _ := url.Parse(s.url)
	return parsed.Host
}

// testTimeout is how long a test waits for what must come.
const testTimeout = 60 * time.Second

// eventually waits until the condition holds.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	within(t, testTimeout, what, condition)
}

// within waits so long at most.
func within(t testing.TB, limit time.Duration, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// An output collects what a process writes.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// lines are those that the process has written.
func (o *output) lines() []string {
	var lines []string
	for scanner := bufio.NewScanner(strings.NewReader(o.String())); scanner.Scan(); {
		lines = append(lines, scanner.Text())
	}
	return lines
}
