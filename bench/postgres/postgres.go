// Package postgres runs the PostgreSQL that everything is measured on.
package postgres

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/onceql/onceql/internal/embeddedpg"
)

// parameters are the same for all. Commits are durable: fsync and
// synchronous_commit stay on.
var parameters = map[string]string{
	"max_connections":    "200",
	"shared_buffers":     "512MB",
	"max_wal_size":       "4GB",
	"checkpoint_timeout": "30min",
	"wal_compression":    "off",
	"autovacuum_naptime": "10s",
}

// A Server is a PostgreSQL with empty data.
type Server struct {
	// Work is a directory for whatever else the measuring needs; it goes with
	// the server.
	Work     string
	embedded *embeddedpg.Server
}

// Start starts a PostgreSQL of this program's own, whose main has to begin with
// Supervise.
func Start(ctx context.Context) (*Server, error) {
	work, err := os.MkdirTemp("", "onceql-bench-")
	if err != nil {
		return nil, err
	}
	s := &Server{Work: work}
	// For root it is another user that runs PostgreSQL in there.
	if err := os.Chmod(work, 0o755); err != nil {
		return nil, errors.Join(err, s.Stop(ctx))
	}
	s.embedded, err = embeddedpg.Start(ctx, embeddedpg.Config{Dir: filepath.Join(work, "postgres"), Parameters: parameters})
	if err != nil {
		return nil, errors.Join(err, s.Stop(ctx))
	}
	return s, nil
}

// Supervise lets the program be the one that stops PostgreSQL when it ends.
func Supervise() { embeddedpg.Supervise() }

// URL is where a superuser connects to.
func (s *Server) URL() string { return s.embedded.URL() }

// Stop stops the server and removes its data.
func (s *Server) Stop(ctx context.Context) error {
	var err error
	if s.embedded != nil {
		err = s.embedded.Stop(ctx)
	}
	return errors.Join(err, os.RemoveAll(s.Work))
}
