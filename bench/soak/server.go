package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// So long keys are replayed and kept: short, so that the purge has work.
const (
	ttl       = "20s"
	retention = "30s"
)

// A server is one of OnceQL's.
type server struct {
	database *database

	mu      sync.Mutex
	address string
	command *exec.Cmd
}

func (d *database) startServers(ctx context.Context) ([]*server, error) {
	servers := []*server{{database: d}, {database: d}}
	for _, s := range servers {
		if err := s.start(ctx); err != nil {
			return servers, err
		}
	}
	return servers, nil
}

// start starts it, where it is free.
func (s *server) start(ctx context.Context) error {
	command := exec.CommandContext(ctx, s.database.program)
	command.Env = append(append(os.Environ(), s.database.env()...), "LISTEN_ADDR=127.0.0.1:0", "LOG_LEVEL=error",
		"IDEMPOTENCY_TTL="+ttl, "IDEMPOTENCY_RETENTION="+retention)
	// It must not outlive this program.
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) == 2 && fields[0] == "API" {
			go func() { _, _ = io.Copy(io.Discard, stdout) }()
			s.mu.Lock()
			defer s.mu.Unlock()
			s.address, s.command = fields[1], command
			return nil
		}
	}
	return fmt.Errorf("the server ended before it said where it is: %w", command.Wait())
}

// url is where its API is.
func (s *server) url() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.address
}

// stop drains it.
func (s *server) stop() {
	s.mu.Lock()
	command := s.command
	s.mu.Unlock()
	if command != nil && command.ProcessState == nil {
		_ = command.Process.Signal(syscall.SIGTERM)
		_ = command.Wait()
	}
}

// A footprint is what a process has of its machine.
type footprint struct{ bytes, threads, files int64 }

func (s *server) footprint() (f footprint, err error) {
	s.mu.Lock()
	dir := fmt.Sprintf("/proc/%d", s.command.Process.Pid)
	s.mu.Unlock()
	text, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return f, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		n, _ := strconv.ParseInt(fields[1], 10, 64)
		switch fields[0] {
		case "VmRSS:":
			f.bytes = n << 10
		case "Threads:":
			f.threads = n
		}
	}
	files, err := os.ReadDir(filepath.Join(dir, "fd"))
	f.files = int64(len(files))
	return f, err
}
