// Package embeddedpg runs a real PostgreSQL as a child of this program, for
// development and tests. The child ends with its parent, however the parent ends,
// and data is never deleted. It is not for production: one machine, one directory,
// no replica.
//
//	func main() {
//		embeddedpg.Supervise() // First: the program is its own supervisor.
//		server, err := embeddedpg.Start(ctx, embeddedpg.Config{Dir: "/var/lib/onceql"})
//		if err != nil {
//			return err
//		}
//		defer server.Stop(ctx)
//		pool, err := pgxpool.New(ctx, server.URL())
//	}
package embeddedpg

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
)

// What Start reports. Compare with errors.Is; the text says what to do.
var (
	// ErrDataDirInUse reports a data directory that another server uses.
	ErrDataDirInUse = errors.New("the data directory is in use")
	// ErrDataVersion reports data of another major version of PostgreSQL.
	ErrDataVersion = errors.New("the data are of another version of PostgreSQL")
	// ErrNoPostgres reports that no PostgreSQL is installed.
	ErrNoPostgres = errors.New("no PostgreSQL is installed")
	// ErrNotRunning reports a data directory on whose data no PostgreSQL runs.
	ErrNotRunning = errors.New("no embedded PostgreSQL runs")
	// ErrNoData reports a data directory without data.
	ErrNoData = errors.New("there are no data")
)

// Config says how an embedded PostgreSQL runs.
type Config struct {
	// Dir is where it keeps its data, and everything else. Empty means
	// DefaultDataDir.
	Dir string
	// Parameters are settings of postgresql.conf, such as max_connections. They
	// hold for this run.
	Parameters map[string]string
	// Port is the TCP port on the loopback interface. Zero takes any free one.
	Port int
	// RepositoryURL is where PostgreSQL is fetched from when it is not
	// installed. Empty means the library's own.
	RepositoryURL string
	// Installations are the directories of PostgreSQL's programs to choose
	// from. Nil means those of this machine.
	Installations []string
	// Users may run PostgreSQL when this process is root, for which it refuses to
	// run: the first that there is does. Nil means postgres, else nobody.
	Users []string
}

// A Server is a PostgreSQL that runs as long as this process does, for
// development and tests. It listens on the loopback interface alone, and its
// superuser has a random password.
//
// A supervisor, which is this program started once more, runs it: when this
// process ends, however that comes, the supervisor shuts PostgreSQL down. The
// program's main calls Supervise first for that.
type Server struct {
	url   string
	stdin io.Closer
	done  chan struct{}
	stop  sync.Once
}

// Start starts PostgreSQL on the data in config.Dir, which it makes when there is
// none, and waits until it takes connections. Data is never deleted. When the
// directory is in use it returns ErrDataDirInUse.
func Start(ctx context.Context, config Config) (*Server, error) {
	if !supervisable {
		return nil, errors.New("embeddedpg.Start is for a program whose main begins with embeddedpg.Supervise")
	}
	if config.Dir == "" {
		config.Dir = DefaultDataDir()
	}
	dir, err := filepath.Abs(config.Dir)
	if err != nil {
		return nil, err
	}
	config.Dir = dir
	text, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := exec.Command(program)
	command.Env = append(environment(supervisorVariables), supervisorMarker+"="+string(text))
	// Not this one's: Ctrl-C goes to a terminal's whole group, and PostgreSQL is
	// needed until the requests have drained.
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	command.Stderr = os.Stderr
	stdin, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("starting the supervisor of PostgreSQL: %w", err)
	}
	s := &Server{stdin: stdin, done: make(chan struct{})}
	said := make(chan report, 1)
	go func() {
		var message report
		line, err := bufio.NewReader(stdout).ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, &message)
		}
		if err != nil {
			message.Error = "its supervisor ended"
		}
		said <- message
		_ = command.Wait()
		close(s.done)
	}()
	select {
	case message := <-said:
		if message.Error != "" {
			_ = stdin.Close()
			<-s.done
			return nil, fmt.Errorf("embedded PostgreSQL: %w", message.err())
		}
		s.url = message.URL
		return s, nil
	case <-ctx.Done():
		// Nothing of it may be in the way of the next start.
		_ = stdin.Close()
		<-s.done
		return nil, ctx.Err()
	}
}

// URL is the address of the database, with the superuser's password.
func (s *Server) URL() string { return s.url }

// Done is closed when PostgreSQL no longer runs.
func (s *Server) Done() <-chan struct{} { return s.done }

// Stop shuts PostgreSQL down and waits for that until ctx ends.
func (s *Server) Stop(ctx context.Context) error {
	s.stop.Do(func() { _ = s.stdin.Close() })
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// DefaultDataDir is where the data of an embedded PostgreSQL is when nobody says
// otherwise: /var/lib/onceql for root, and else in the user's state directory,
// as the XDG Base Directory Specification has it.
func DefaultDataDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/onceql"
	}
	if state := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return filepath.Join(state, "onceql")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return filepath.Join(os.TempDir(), "onceql")
	}
	if runtime.GOOS == "darwin" {
		return filepath.Join(home, "Library", "Application Support", "onceql")
	}
	return filepath.Join(home, ".local", "state", "onceql")
}
