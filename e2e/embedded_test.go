package e2e_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// dataDir is the path of a data directory that there is not yet.
func dataDir(t testing.TB) string {
	t.Helper()
	parent, err := os.MkdirTemp("", "onceql-data-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(parent) })
	// For root it is another user that keeps the data in there.
	if err := os.Chmod(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(parent, "data")
}

// Whoever is first serves, on an empty directory as on one with data.
func TestEmbedded_IsOneServersWhenSeveralStartAtOnce(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	for range 3 {
		var servers []*server
		for range 3 {
			servers = append(servers, launch(t, "DATA_DIR="+dir, "LOG_LEVEL=info"))
		}
		eventually(t, "the others to end", func() bool {
			ended := 0
			for _, s := range servers {
				select {
				case <-s.ended:
					ended++
				default:
				}
			}
			return ended == len(servers)-1
		})
		for _, s := range servers {
			select {
			case <-s.ended:
				if says := s.stderr.String(); s.state.ExitCode() != 1 || !strings.Contains(says, "in use") || strings.Count(says, "\n") != 1 {
					t.Errorf("a server beside another ends with %v, want one line that the directory is in use:\n%s", s.state, says)
				}
			default:
				s.awaitURL()
				if a := s.send(create("k", "Apollo")); a.fieldStatus() == "" {
					t.Errorf("%d %s", a.status, a.raw)
				}
				s.stop()
				if says := s.stderr.String(); strings.Contains(says, losesCommits) {
					t.Errorf("a database with its defaults is warned of:\n%s", says)
				}
			}
		}
	}
}

func TestEmbedded_KeepsItsDataAndEndsWithTheServer(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	start := func() *server {
		s := launch(t, "DATA_DIR="+dir)
		s.awaitURL()
		return s
	}
	s := start()
	wantStatus(t, s.send(create("k", "Apollo")), "EXECUTED")
	if !strings.Contains(s.stdout.String(), dir) {
		t.Errorf("the start does not name the data directory:\n%s", s.stdout)
	}
	second := launch(t, "DATA_DIR="+dir)
	if code := second.wait(); code == 0 || !strings.Contains(second.stderr.String(), "in use") {
		t.Errorf("a second server on the directory ends with %d:\n%s", code, second.stderr)
	}
	address := postgresAddress(t, dir)
	wantServedByARoleOfItsOwn(t, dir, address)
	s.kill()
	wantNobodyAt(t, address)
	s = start()
	wantStatus(t, s.send(create("k", "Apollo")), "REPLAYED")
	address = postgresAddress(t, dir)
	s.terminate()
	if code := s.wait(); code != 0 {
		t.Errorf("exit code %d, want 0:\n%s", code, s.stderr)
	}
	wantNobodyAt(t, address)
	// Nothing of it is left that would keep the next one out.
	wantStatus(t, start().send(create("k", "Apollo")), "REPLAYED")
}

// wantServedByARoleOfItsOwn checks that all of the server's connections are of a
// role that row-level security holds back.
func wantServedByARoleOfItsOwn(t testing.TB, dir, address string) {
	t.Helper()
	password, err := os.ReadFile(filepath.Join(dir, "password"))
	if err != nil {
		t.Fatal(err)
	}
	d := connect(t, "postgres://postgres:"+strings.TrimSpace(string(password))+"@"+address+"/postgres")
	const served = `from pg_stat_activity join pg_roles on rolname = usename where application_name = 'onceql'`
	if n := d.count(`select count(*) ` + served); n == 0 {
		t.Error("the server has no connection")
	}
	if n := d.count(`select count(*) ` + served + ` and (rolsuper or rolbypassrls or rolcreaterole or rolcreatedb)`); n > 0 {
		t.Errorf("%d connections of the server are above row-level security", n)
	}
}

// postgresAddress is where the PostgreSQL of the data directory listens.
func postgresAddress(t testing.TB, dir string) string {
	t.Helper()
	// The fourth line is the port.
	lines, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1:" + strings.Split(string(lines), "\n")[3]
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	return address
}

// wantNobodyAt waits until nobody listens there any more.
func wantNobodyAt(t testing.TB, address string) {
	t.Helper()
	eventually(t, "PostgreSQL to end", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
}
