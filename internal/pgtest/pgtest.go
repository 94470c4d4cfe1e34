// Package pgtest gives each test a database of its own, on a real PostgreSQL that
// runs as long as the tests of a package.
package pgtest

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib" // The driver "pgx" of pgtestdb.
	"github.com/peterldowns/pgtestdb"

	"github.com/onceql/onceql/internal/embeddedpg"
	"github.com/onceql/onceql/migrations"
)

// parameters make a server fast and roomy. What no test does is to cut the power,
// so nothing needs to reach the disk.
var parameters = map[string]string{
	"fsync":           "off",
	"max_connections": "500",
	"shared_buffers":  "64MB",
	// What a lock needs to outlive the session that took it.
	"max_prepared_transactions": "1",
}

var shared struct {
	sync.Mutex
	server *Server
}

// Main is what TestMain of a package that uses the others does.
func Main(m *testing.M) {
	embeddedpg.Supervise()
	// With the race detector a program sleeps for a second before it ends, each
	// supervisor of a server too.
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	defer func() {
		if shared.server != nil {
			shared.server.remove()
		}
		removePrograms()
	}()
	m.Run()
}

// URL returns the address of a new and migrated database. It is dropped after the
// test, unless the test failed.
func URL(t testing.TB) string {
	t.Helper()
	server, err := sharedServer(t)
	if err != nil {
		t.Fatal(err)
	}
	address, err := url.Parse(server.embedded.URL())
	if err != nil {
		t.Fatal(err)
	}
	password, _ := address.User.Password()
	config := pgtestdb.Custom(quiet{t}, pgtestdb.Config{
		DriverName: "pgx",
		Host:       address.Hostname(),
		Port:       address.Port(),
		User:       address.User.Username(),
		Password:   password,
		Database:   "postgres",
		Options:    "sslmode=disable",
		// Above row-level security, as one who looks at all tenants' rows.
		TestRole: &pgtestdb.Role{Username: "onceql_owner", Password: "onceql_owner", Capabilities: "SUPERUSER"},
		// A test may leave an engine behind that still works.
		ForceTerminateConnections: true,
	}, migrator{})
	return config.URL()
}

// Pool returns a pool on a database as URL gives it.
func Pool(t testing.TB) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), URL(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// AsRole returns the database's address for a role that is above nothing, as a
// server should have it, and makes the role where there is none. It owns nothing
// and has no rights of its own.
func AsRole(t testing.TB, address string) string {
	t.Helper()
	return withRole(t, address, "onceql_tests", func() error { return nil })
}

func withRole(t testing.TB, address, name string, grant func() error) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	if err == nil { // A test may have stopped the server after it made the role.
		_, err = conn.Exec(t.Context(), `
			do $$ begin
				create role `+name+` login password '`+name+`';
			exception when duplicate_object or unique_violation then null;
			end $$`)
		if closing := conn.Close(t.Context()); err == nil {
			err = closing
		}
		if err == nil {
			err = grant()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	parsed.User = url.UserPassword(name, name)
	return parsed.String()
}

// quiet keeps the URL of each database out of the output.
type quiet struct{ testing.TB }

func (quiet) Logf(string, ...any) {}

type migrator struct{}

func (migrator) Hash() (string, error) { return migrations.Hash() }

func (migrator) Migrate(ctx context.Context, _ *sql.DB, config pgtestdb.Config) error {
	return migrations.Up(ctx, config.URL())
}

func sharedServer(t testing.TB) (*Server, error) {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.server != nil {
		return shared.server, nil
	}
	server, err := newServer(t, os.Getenv(VersionVariable))
	if err != nil {
		return nil, err
	}
	shared.server = server
	return server, nil
}

// A Server is a PostgreSQL of a test's own, which it may stop and start again.
type Server struct {
	dir  string
	port int
	// installations are where its programs are; nil means those of this machine.
	installations []string
	// primary is the address that a standby follows.
	primary  string
	embedded *embeddedpg.Server
}

// NewServer starts a PostgreSQL with an empty, migrated database, and removes it
// after the test.
func NewServer(t testing.TB) *Server {
	t.Helper()
	return NewVersion(t, os.Getenv(VersionVariable))
}

func newServer(t testing.TB, version string) (*Server, error) {
	t.Helper()
	var installations []string
	if version != "" {
		dir, err := programs(t, version)
		if err != nil {
			return nil, err
		}
		installations = []string{dir}
	}
	s, err := newDir(installations)
	if err != nil {
		return nil, err
	}
	if err := s.start(); err != nil {
		s.remove()
		return nil, err
	}
	return s, nil
}

// newDir is a server with a directory and nothing in it.
func newDir(installations []string) (*Server, error) {
	dir, err := publicDir()
	return &Server{dir: dir, installations: installations}, err
}

// publicDir makes a directory that others may read: for root it is another user that
// runs PostgreSQL in there.
func publicDir() (string, error) {
	dir, err := os.MkdirTemp("", "onceql-test-")
	if err == nil {
		err = os.Chmod(dir, 0o755) //nolint:gosec // No secrets.
	}
	return dir, err
}

// home is where PostgreSQL keeps everything.
func (s *Server) home() string { return filepath.Join(s.dir, "postgres") }

func (s *Server) start() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	parameters := maps.Clone(parameters)
	parameters["primary_conninfo"] = s.primary
	embedded, err := embeddedpg.Start(ctx, embeddedpg.Config{
		Dir: s.home(), Port: s.port, Parameters: parameters, Installations: s.installations,
	})
	if err != nil {
		return err
	}
	s.embedded = embedded
	address, err := url.Parse(embedded.URL())
	if err != nil {
		return err
	}
	s.port, err = strconv.Atoi(address.Port())
	return err
}

func (s *Server) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return s.embedded.Stop(ctx)
}

func (s *Server) remove() {
	if s.embedded != nil {
		if err := s.stop(); err != nil {
			fmt.Fprintln(os.Stderr, "pgtest: stopping PostgreSQL:", err)
		}
	}
	_ = os.RemoveAll(s.dir)
}

// URL returns the address of the server's database, which stays the same over
// stops and starts.
func (s *Server) URL() string { return s.embedded.URL() }

// Log is what the server has written to its log since it was started.
func (s *Server) Log(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.home(), "postgres.log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Stop shuts the server down, as an operator would.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
}

// Start starts it again, on the same port and data.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
}

// AsOperator returns the database's address for an operators' role, and makes the role where
// there is none, with its rights.
func AsOperator(t testing.TB, address string) string {
	t.Helper()
	return withRole(t, address, "onceql_operator", func() error {
		return migrations.Up(t.Context(), address, migrations.ForOperator("onceql_operator"))
	})
}
