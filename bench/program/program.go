// Package program builds the servers that are measured, runs them, and says what they
// have of the machine.
package program

import (
	"bufio"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/onceql/onceql/bench/postgres"
)

// Build builds the package in dir.
func Build(dir, program string) error {
	return Output(exec.Command("go", "-C", dir, "build", "-buildvcs=false", "-o", program, "."))
}

// Migrate brings the database to the schema of the program, and lets the servers' role
// use it.
func Migrate(program, database string) error {
	migrate := exec.Command(program, "migrate", "up")
	migrate.Env = append(os.Environ(), Env(database)...)
	return Output(migrate)
}

// Env are the settings of a server on the database, as its operators should set them: as
// a role that owns nothing, and that row-level security holds back.
func Env(database string) []string {
	return []string{"DATABASE_URL=" + postgres.AsRole(database), "MIGRATION_DATABASE_URL=" + database}
}

// Output runs the command, whose output is the error's when it fails.
func Output(command *exec.Cmd) error {
	if text, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", command.Args, err, text)
	}
	return nil
}

// A Server is one that runs.
type Server struct {
	// URL is where its API is.
	URL     *url.URL
	command *exec.Cmd
	log     string
}

// Start starts a server that says where its API is, as OnceQL does. It listens on a free
// port, and does not outlive this program.
func Start(env []string, program string, args ...string) (*Server, error) {
	command := exec.Command(program, args...)
	command.Env = append(append(os.Environ(), "LISTEN_ADDR=127.0.0.1:0"), env...)
	log, err := os.CreateTemp("", "onceql-bench-*.log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	command.Stderr = log
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s := &Server{command: command, log: log.Name()}
	stdout, err := command.StdoutPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		_ = os.Remove(s.log)
		return nil, fmt.Errorf("starting %s: %w", program, err)
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) != 2 || fields[0] != "API" {
			continue
		}
		go func() { _, _ = io.Copy(io.Discard, stdout) }()
		if s.URL, err = url.Parse(fields[1]); err != nil {
			s.Stop()
			return nil, err
		}
		return s, nil
	}
	err = command.Wait()
	text := s.Log()
	_ = os.Remove(s.log)
	return nil, fmt.Errorf("%s ended before it said where it is: %w\n%s", program, err, text)
}

// Log is what the server has logged so far.
func (s *Server) Log() string {
	text, _ := os.ReadFile(s.log)
	return string(text)
}

// PID is the server's process.
func (s *Server) PID() int { return s.command.Process.Pid }

// Stop drains the server and waits until it has ended. To stop it again does nothing.
func (s *Server) Stop() {
	if s == nil || s.command.ProcessState != nil {
		return
	}
	_ = s.command.Process.Signal(syscall.SIGTERM)
	_ = s.command.Wait()
	_ = os.Remove(s.log)
}
