package embeddedpg

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
)

const (
	// supervisorMarker is the environment variable that makes this program a
	// supervisor. It holds the Config as JSON.
	supervisorMarker = "ONCEQL_EMBEDDED_SUPERVISOR"

	// supervisorName is what process lists show: another name than the server's,
	// so that one killall does not take both.
	supervisorName = "pg-supervisor"
)

// supervisable is set once main has called Supervise. Without that call a
// supervisor would be one more server, which starts one more supervisor.
var supervisable bool

// Supervise must be the first call of main, and of TestMain, in a program that
// calls Start. In the child process that Start makes it looks after Postgres and
// never returns; anywhere else it does nothing.
func Supervise() {
	supervisable = true
	order := os.Getenv(supervisorMarker)
	if order == "" {
		return
	}
	// Postgres ends with the thread that starts it: see dieWithParent.
	runtime.LockOSThread()
	_ = os.WriteFile("/proc/self/comm", []byte(supervisorName), 0) // Linux only.
	// A terminal's or systemd's signals reach every process. This one goes by its
	// parent, which may still have work to finish; and it outlives the parent,
	// which is then not there to read what it says.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	// Its messages are in English, and on macOS a server without LC_ALL does not start.
	_ = os.Setenv("LC_ALL", "C")

	var s supervisor
	if err := json.Unmarshal([]byte(order), &s.Config); err != nil {
		say(reportOf(err))
		os.Exit(1)
	}
	ctx, cancel := context.WithCancel(context.Background()) //nolint:forbidigo // This is a main.
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // Until the parent closes its end, or dies.
		cancel()
	}()
	os.Exit(s.supervise(ctx))
}

// A supervisor runs one Postgres for its parent.
type supervisor struct {
	Config
	// user is the one that root became, empty when it was no root.
	user string
	lock *os.File
}

// supervise runs Postgres until ctx ends, and returns the exit code.
func (s *supervisor) supervise(ctx context.Context) int {
	postgres, err := s.start(ctx)
	if err != nil {
		say(reportOf(err))
		return 1
	}
	say(report{URL: postgres.url})
	select {
	case <-ctx.Done():
		err = postgres.stop()
	case <-postgres.exited:
		err = fmt.Errorf("it ended by itself; its log is %s", s.logFile())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "embedded PostgreSQL:", err)
		return 1
	}
	return 0
}

func say(r report) { _ = json.NewEncoder(os.Stdout).Encode(r) }

// start makes the directory ready and Postgres run.
func (s *supervisor) start(ctx context.Context) (*postgres, error) {
	if err := s.enterDir(); err != nil {
		return nil, err
	}
	if err := s.takeLock(ctx); err != nil {
		return nil, err
	}
	version, err := dataVersion(s.data())
	if err != nil {
		return nil, err
	}
	if err := s.clearTemporary(); err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(s.temporary()) }()
	binaries, err := s.findBinaries(ctx, version)
	if err != nil {
		return nil, err
	}
	if err := s.endOrphan(); err != nil {
		return nil, err
	}
	password, err := s.password(version == "")
	if err != nil {
		return nil, err
	}
	if version == "" {
		if err := s.initialise(ctx, binaries); err != nil {
			return nil, err
		}
	}
	return s.run(ctx, binaries, password)
}

func (s *supervisor) data() string         { return filepath.Join(s.Dir, "data") }
func (s *supervisor) temporary() string    { return filepath.Join(s.Dir, "tmp") }
func (s *supervisor) passwordFile() string { return filepath.Join(s.Dir, "password") }
func (s *supervisor) lockFile() string     { return filepath.Join(s.Dir, "onceql.lock") }
func (s *supervisor) logFile() string      { return filepath.Join(s.Dir, "postgres.log") }
