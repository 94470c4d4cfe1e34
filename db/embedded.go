package db

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

var (
	// ErrDataDirInUse reports a data directory that another process runs a
	// Postgres on.
	ErrDataDirInUse = errors.New("the data directory is in use")

	// ErrDataVersion reports data that another major version of PostgreSQL wrote
	// than the one this machine has.
	ErrDataVersion = errors.New("the data is of another PostgreSQL version")

	// ErrNoPostgres reports a machine that has no PostgreSQL and could not fetch
	// one.
	ErrNoPostgres = errors.New("no PostgreSQL here")
)

// An EmbeddedConfig says where an embedded Postgres lives and how it runs. Dir is
// required.
type EmbeddedConfig struct {
	// Dir holds everything: the data, the password, the lock, and fetched
	// binaries. It is made when missing. Data in it is never deleted.
	Dir string

	// Port is the port on 127.0.0.1. Zero means any free one.
	Port int

	// Parameters are server settings, as in postgresql.conf.
	Parameters map[string]string

	// RepositoryURL is the Maven repository to fetch PostgreSQL from when this
	// machine has none. Empty means Maven Central.
	RepositoryURL string

	// SearchPath lists the directories to look for PostgreSQL's programs in. Nil
	// means PATH, /usr/lib/postgresql/*/bin and Homebrew's.
	SearchPath []string
}

// An Embedded is a running Postgres that ends with this process, however this
// process ends.
type Embedded struct {
	url    string
	stdin  io.Closer
	done   chan struct{}
	err    error // set before done is closed
	stderr bytes.Buffer
}

// StartEmbedded starts a Postgres on the data in config.Dir, after initialising
// it if there is none, and returns once it answers. Errors: ErrDataDirInUse,
// ErrDataVersion, ErrNoPostgres, or whatever Postgres said.
//
// A child process looks after it, which is this program again: main calls
// SuperviseEmbedded first. Postgres refuses to run as root, so for root the child
// becomes the user postgres, or nobody.
func StartEmbedded(ctx context.Context, config EmbeddedConfig) (*Embedded, error) {
	dir, err := filepath.Abs(config.Dir)
	if err != nil || config.Dir == "" {
		return nil, fmt.Errorf("the embedded Postgres needs a data directory: %w", errors.Join(err, os.ErrInvalid))
	}
	config.Dir = dir
	e, reports, err := launch(config)
	if err != nil {
		return nil, fmt.Errorf("starting the embedded Postgres's supervisor: %w", err)
	}
	select {
	case <-ctx.Done():
		_ = e.stdin.Close() // It stops what it has started by then.
		return nil, fmt.Errorf("starting the embedded Postgres: %w", context.Cause(ctx))
	case report, ok := <-reports:
		if !ok {
			<-e.done
			return nil, fmt.Errorf("starting the embedded Postgres: its supervisor ended without a word: %w", e.err)
		}
		if report.Error != "" {
			<-e.done
			return nil, report.err()
		}
		e.url = report.URL
		return e, nil
	}
}

// URL is the connection string of the database, with the superuser's password.
func (e *Embedded) URL() string { return e.url }

// Done is closed when the supervisor is gone: after Stop, or because it or
// Postgres died. Err then says why.
func (e *Embedded) Done() <-chan struct{} { return e.done }

// Err is why the supervisor ended before anyone asked it to; nil after Stop and
// before Done is closed.
func (e *Embedded) Err() error {
	select {
	case <-e.done:
		return e.err
	default:
		return nil
	}
}

// Stop shuts Postgres down, breaking its connections, and waits until it is down
// or ctx ends. A second Stop does nothing more.
func (e *Embedded) Stop(ctx context.Context) error {
	_ = e.stdin.Close() // Closed twice is closed.
	select {
	case <-e.done:
		return e.err
	case <-ctx.Done():
		return fmt.Errorf("waiting for the embedded Postgres to stop: %w", context.Cause(ctx))
	}
}

// DefaultDataDir is where the server keeps its data when it is not told: for root
// /var/lib/onceql, on macOS ~/Library/Application Support/onceql, else
// $XDG_STATE_HOME/onceql, which is ~/.local/state/onceql when that is unset. It is
// empty when there is no home directory either.
func DefaultDataDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/onceql"
	}
	if state := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(state) && runtime.GOOS != "darwin" {
		return filepath.Join(state, "onceql")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	if runtime.GOOS == "darwin" {
		return filepath.Join(home, "Library", "Application Support", "onceql")
	}
	return filepath.Join(home, ".local", "state", "onceql")
}

// launch starts the supervisor. The channel gives its one report, or is closed
// when it ends without one.
func launch(config EmbeddedConfig) (*Embedded, <-chan report, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	order, err := json.Marshal(config)
	if err != nil {
		return nil, nil, err
	}
	e := &Embedded{done: make(chan struct{})}
	cmd := exec.Command(self)
	cmd.Args[0] = supervisorName
	cmd.Env = append(withoutPostgres(os.Environ()), supervisorMarker+"="+string(order))
	cmd.Stderr = &e.stderr
	// Its own session: a Ctrl-C is for this process alone, which then decides.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// Postgres must not keep Wait from returning if it got hold of the pipe.
	cmd.WaitDelay = time.Second
	// The supervisor's standard input ends when this process does, however.
	if e.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	reports := make(chan report, 1)
	go func() {
		defer close(e.done)
		var said report
		if json.NewDecoder(stdout).Decode(&said) == nil {
			reports <- said
		}
		close(reports)
		if err := cmd.Wait(); err != nil {
			e.err = fmt.Errorf("the embedded Postgres ended: %w: %s", err, strings.TrimSpace(e.stderr.String()))
		}
	}()
	return e, reports, nil
}

// withoutPostgres is env without the variables that libpq and Postgres's programs
// read, which are meant for another server.
func withoutPostgres(env []string) []string {
	kept := make([]string, 0, len(env)+1)
	for _, variable := range env {
		if !strings.HasPrefix(variable, "PG") {
			kept = append(kept, variable)
		}
	}
	return kept
}
