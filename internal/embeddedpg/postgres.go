package embeddedpg

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	startAttempts = 5
	// startTimeout leaves time for the recovery after a crash.
	startTimeout = 5 * time.Minute
	// stopTimeout is how long Postgres has for its last checkpoint, and then once
	// more to end without one.
	stopTimeout = 12 * time.Second
	pollEvery   = 10 * time.Millisecond
)

// A postgres is a running server, this process's child.
type postgres struct {
	url     string
	process *os.Process
	exited  chan struct{}
}

// run starts Postgres on a port that is free. Another process may take the port
// in between, and the shared memory of one that was killed may need a moment to
// go: a few attempts.
func (s *supervisor) run(ctx context.Context, binaries binaries, password string) (*postgres, error) {
	for attempt := 1; ; attempt++ {
		port, err := freePort(s.Port)
		if err == nil {
			var running *postgres
			if running, err = s.launch(ctx, binaries, port); err == nil {
				running.url = connectionURL(port, password)
				return running, nil
			}
		}
		if attempt == startAttempts || ctx.Err() != nil {
			return nil, fmt.Errorf("starting PostgreSQL %s on %s: %w", binaries.major, s.data(), err)
		}
		time.Sleep(time.Duration(attempt) * 100 * time.Millisecond)
	}
}

// launch starts Postgres and waits until it takes connections.
func (s *supervisor) launch(ctx context.Context, binaries binaries, port int) (*postgres, error) {
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	command := exec.Command(binaries.program("postgres"), s.arguments(port)...)
	command.Env = environment(postgresVariables)
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = new(syscall.SysProcAttr)
	dieWithParent(command.SysProcAttr)
	err = command.Start()
	_ = log.Close() // The child has its own.
	if err != nil {
		return nil, err
	}
	p := &postgres{process: command.Process, exited: make(chan struct{})}
	go func() {
		_ = command.Wait()
		close(p.exited)
	}()
	deadline := time.After(startTimeout)
	for {
		if file := readPidFile(s.data()); file.pid == p.process.Pid && file.ready {
			return p, nil
		}
		select {
		case <-time.After(pollEvery):
		case <-p.exited:
			text, _ := os.ReadFile(s.logFile())
			return nil, fmt.Errorf("it ended: %s", strings.TrimSpace(string(text)))
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), p.stop())
		case <-deadline:
			return nil, errors.Join(fmt.Errorf("it takes no connections after %s; its log is %s", startTimeout, s.logFile()), p.stop())
		}
	}
}

func (s *supervisor) arguments(port int) []string {
	parameters := map[string]string{
		"listen_addresses": "127.0.0.1",
		// None: a path too long for one would be one more way to fail.
		"unix_socket_directories": "",
		// Statements and details of errors may hold keys and payloads.
		"log_error_verbosity":     "terse",
		"log_min_error_statement": "panic",
	}
	for name, value := range s.Parameters {
		parameters[name] = value
	}
	arguments := []string{"-D", s.data(), "-p", strconv.Itoa(port)}
	for name, value := range parameters {
		arguments = append(arguments, "-c", name+"="+value)
	}
	return arguments
}

// stop shuts Postgres down and waits for its end.
func (p *postgres) stop() error {
	return shutDown(p.process, func() bool {
		select {
		case <-p.exited:
			return true
		default:
			return false
		}
	})
}

// shutDown ends a Postgres: fast, or when that takes too long, at once, which
// costs the next start a recovery and loses nothing.
func shutDown(process *os.Process, gone func() bool) error {
	for _, signal := range []os.Signal{syscall.SIGINT, syscall.SIGQUIT} {
		if err := process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stopping Postgres, process %d: %w", process.Pid, err)
		}
		for deadline := time.Now().Add(stopTimeout); time.Now().Before(deadline); time.Sleep(pollEvery) {
			if gone() {
				return nil
			}
		}
	}
	return fmt.Errorf("process %d, a Postgres, does not end", process.Pid)
}

// endOrphan ends a Postgres that runs on the data though its supervisor is gone.
// The lock is ours, so nobody uses it.
func (s *supervisor) endOrphan() error {
	file := readPidFile(s.data())
	if !alive(file.pid) {
		return nil
	}
	if ours, known := worksIn(file.pid, s.data()); known && !ours {
		// After a crash, of a container above all, the number is soon another
		// process's. Postgres would take that one for itself, and not start.
		return os.Remove(filepath.Join(s.data(), pidFileName))
	} else if !known && !answers(file.port) {
		return nil
	}
	process, err := os.FindProcess(file.pid)
	if err != nil {
		return err
	}
	return shutDown(process, func() bool { return !alive(file.pid) })
}

// worksIn tells whether the directory is the process's current one, as a
// Postgres's data are, where that can be known: on Linux.
func worksIn(pid int, dir string) (yes, known bool) {
	its, err := os.Stat(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil {
		return false, false
	}
	info, err := os.Stat(dir)
	return err == nil && os.SameFile(its, info), err == nil
}

const pidFileName = "postmaster.pid"

// A pidFile is what a data directory says about its Postgres; zero for none.
type pidFile struct {
	pid, port int
	ready     bool
}

func readPidFile(data string) pidFile {
	text, _ := os.ReadFile(filepath.Join(data, pidFileName))
	lines := append(strings.Split(string(text), "\n"), make([]string, 8)...)
	pid, _ := strconv.Atoi(strings.TrimSpace(lines[0]))
	port, _ := strconv.Atoi(strings.TrimSpace(lines[3]))
	status := strings.TrimSpace(lines[7])
	return pidFile{pid, port, status == "ready" || status == "standby"}
}

// alive tells whether the process runs. One that has ended and that no parent
// collects, as in a container without an init, does not.
func alive(pid int) bool {
	if pid <= 0 || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)) // Linux only.
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}

func answers(port int) bool {
	conn, err := net.DialTimeout("tcp", loopback(port), time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// freePort is the port if it is free, or for zero any that is.
func freePort(port int) (int, error) {
	listener, err := net.Listen("tcp", loopback(port))
	if err != nil {
		return 0, fmt.Errorf("finding a port for Postgres: %w", err)
	}
	defer listener.Close()
	_, text, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(text)
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func connectionURL(port int, password string) string {
	address := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword("postgres", password),
		Host:     loopback(port),
		Path:     "/postgres",
		RawQuery: "sslmode=disable",
	}
	return address.String()
}
