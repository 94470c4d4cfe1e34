package pgtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// StandBy starts the server again as a standby, which answers and takes no writes.
func (s *Server) StandBy(t testing.TB) {
	t.Helper()
	s.Stop(t)
	s.standBy(t)
	s.Start(t)
}

func (s *Server) standBy(t testing.TB) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.home(), "data", "standby.signal"), nil, 0o644); err != nil { //nolint:gosec // No secret; PostgreSQL's user reads it.
		t.Fatal(err)
	}
}

// Promote makes a standby a primary.
func (s *Server) Promote(t testing.TB) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL())
	if err == nil {
		_, err = conn.Exec(t.Context(), `select pg_promote()`)
		_ = conn.Close(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Follower returns a standby that follows the server, on a host of its own, and removes
// it after the test. The server is away meanwhile.
func (s *Server) Follower(t testing.TB) *Server {
	t.Helper()
	follower, err := newDir(s.installations)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(follower.remove)
	s.Stop(t)
	// With their owner: for root that is another user.
	if output, err := exec.CommandContext(t.Context(), "cp", "-a", s.home(), follower.home()).CombinedOutput(); err != nil {
		t.Fatalf("copying the server's data: %v\n%s", err, output)
	}
	s.Start(t)
	follower.primary = s.URL()
	follower.standBy(t)
	follower.Start(t)
	s.awaitStream(t)
	return follower
}

// awaitStream waits until a standby follows the server. From then on a stop of the
// server waits until the standby has everything.
func (s *Server) awaitStream(t testing.TB) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		var follows bool
		err := conn.QueryRow(t.Context(), `select exists (select from pg_stat_replication where state = 'streaming')`).Scan(&follows)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("the standby does not follow: %v", err)
		}
		if follows {
			return
		}
	}
}
