package db

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

const (
	// supervisorMarker is the environment variable that makes this program a
	// supervisor. It holds the EmbeddedConfig as JSON.
	supervisorMarker = "ONCEQL_EMBEDDED_SUPERVISOR"

	// supervisorName is what process lists show: another name than the server's,
	// so that one killall does not take both and leave Postgres alone.
	supervisorName = "pg-supervisor"

	startAttempts = 5
	startTimeout  = 30 * time.Second
	watchEvery    = 500 * time.Millisecond
)

// SuperviseEmbedded must be the first call of main, and of TestMain, in a program
// that calls StartEmbedded. In the child process that StartEmbedded makes it looks
// after Postgres and never returns; anywhere else it does nothing.
func SuperviseEmbedded() {
	order := os.Getenv(supervisorMarker)
	if order == "" {
		return
	}
	_ = os.Unsetenv(supervisorMarker)
	_ = os.WriteFile("/proc/self/comm", []byte(supervisorName), 0) // Linux only.
	// A terminal's or systemd's signals reach every process. This one goes by its
	// parent, which may still have work to finish.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)

	var s supervisor
	if err := json.Unmarshal([]byte(order), &s.EmbeddedConfig); err != nil {
		s.say(report{Error: err.Error()})
		os.Exit(1)
	}
	orphaned := make(chan struct{})
	go s.awaitParent(orphaned)
	address, err := s.start()
	if err != nil {
		s.say(reportOf(err))
		os.Exit(1)
	}
	s.say(report{URL: address})
	if err := s.watch(orphaned); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// A supervisor runs one Postgres for its parent.
type supervisor struct {
	EmbeddedConfig
	lock     *os.File
	postgres *embeddedpostgres.EmbeddedPostgres
	// fetching is set while all that happens is a download, which may hang.
	fetching atomic.Bool
}

// awaitParent closes orphaned when the parent has died or wants an end.
func (s *supervisor) awaitParent(orphaned chan<- struct{}) {
	_, _ = io.Copy(io.Discard, os.Stdin)
	if s.fetching.Load() {
		os.Exit(1)
	}
	close(orphaned)
}

func (s *supervisor) say(r report) {
	_ = json.NewEncoder(os.Stdout).Encode(r) // With the parent gone, nobody listens.
}

// start makes the directory ready and Postgres run, and returns its URL.
func (s *supervisor) start() (string, error) {
	if err := s.enterDir(); err != nil {
		return "", err
	}
	version, err := dataVersion(s.data())
	if err != nil {
		return "", err
	}
	binaries, err := s.findBinaries(version)
	if err != nil {
		return "", err
	}
	if err := s.stopRunning(binaries); err != nil {
		return "", err
	}
	if err := s.clearTemporary(); err != nil {
		return "", err
	}
	password, err := s.password(version == "")
	if err != nil {
		return "", err
	}
	if version == "" {
		if err := s.initialise(binaries, password); err != nil {
			return "", err
		}
	}
	return s.run(binaries, password)
}

// run starts Postgres on a port that is free. Another process may take the port
// in between, and the shared memory of one that was killed may need a moment to
// go: a few attempts.
func (s *supervisor) run(binaries binaries, password string) (string, error) {
	for attempt := 1; ; attempt++ {
		port, err := freePort(s.Port)
		if err != nil && attempt == startAttempts {
			return "", err
		}
		s.postgres = embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
			// The data's own version, or the library would delete the data.
			Version(embeddedpostgres.PostgresVersion(binaries.major)).
			BinariesPath(binaries.root).
			DataPath(s.data()).
			RuntimePath(filepath.Join(s.Dir, "tmp", "runtime")).
			CachePath(filepath.Join(s.Dir, "cache")).
			Port(uint32(port)). //nolint:gosec // A port.
			Username("postgres").Password(password).Database("postgres").
			StartParameters(s.parameters()).
			StartTimeout(startTimeout).
			Logger(io.Discard))
		if err == nil {
			err = s.postgres.Start()
		}
		if err == nil {
			return connectionURL(port, password, "postgres"), nil
		}
		// One that is still on its way would be in the way of the next.
		if stopErr := s.stopRunning(binaries); stopErr != nil {
			return "", errors.Join(err, stopErr)
		}
		if attempt == startAttempts {
			return "", fmt.Errorf("starting PostgreSQL %s on %s: %w", binaries.major, s.data(), err)
		}
		time.Sleep(time.Duration(attempt) * 100 * time.Millisecond)
	}
}

func (s *supervisor) parameters() map[string]string {
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
	return parameters
}

// watch returns when Postgres has been stopped for the parent, or has died.
func (s *supervisor) watch(orphaned <-chan struct{}) error {
	pid := postmaster(s.data()).pid
	for {
		select {
		case <-orphaned:
			s.note("stopping")
			return s.postgres.Stop()
		case <-time.After(watchEvery):
			if !alive(pid) {
				return errors.New("postgres died; its log is in " + filepath.Join(s.Dir, "tmp"))
			}
		}
	}
}

// stopRunning ends a Postgres that runs on the data though its supervisor is gone.
// The lock is ours, so nobody uses it.
func (s *supervisor) stopRunning(binaries binaries) error {
	// Its pid alone could be another process's by now; its port as well, hardly.
	if found := postmaster(s.data()); alive(found.pid) && answers(found.port) {
		if err := command(binaries.program("pg_ctl"), "stop", "-w", "-m", "fast", "-D", s.data()); err != nil {
			return fmt.Errorf("stopping the Postgres that was left on %s: %w", s.data(), err)
		}
	}
	return nil
}

// A process is what a data directory says about its Postgres; zero for none.
type process struct{ pid, port int }

func postmaster(data string) process {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	lines := strings.Split(string(text), "\n")
	if err != nil || len(lines) < 4 {
		return process{}
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(lines[0]))
	port, _ := strconv.Atoi(strings.TrimSpace(lines[3]))
	return process{pid, port}
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
	return listener.Addr().(*net.TCPAddr).Port, nil
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func connectionURL(port int, password, database string) string {
	address := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword("postgres", password),
		Host:     loopback(port),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return address.String()
}
