package main

import (
	"sync"

	"github.com/onceql/onceql/bench/program"
)

// So long keys are replayed and kept: short, so that the purge has work.
const (
	ttl       = "20s"
	retention = "30s"
)

// A server is one of OnceQL's, which is started again and again.
type server struct {
	database *database

	mu      sync.Mutex
	current *program.Server
}

func (d *database) startServers() ([]*server, error) {
	servers := []*server{{database: d}, {database: d}}
	for _, s := range servers {
		if err := s.start(); err != nil {
			return servers, err
		}
	}
	return servers, nil
}

func (s *server) start() error {
	started, err := program.Start(append(program.Env(s.database.owner), "LOG_LEVEL=error",
		"IDEMPOTENCY_TTL="+ttl, "IDEMPOTENCY_RETENTION="+retention), s.database.program)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = started
	return nil
}

// now is the one that runs.
func (s *server) now() *program.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// url is where its API is.
func (s *server) url() string { return s.now().URL.String() }

// stop drains it.
func (s *server) stop() { s.now().Stop() }
