package db_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/db"
	"github.com/onceql/onceql/internal/pgtest"
)

func newProbe(t testing.TB, url string) *db.Probe {
	t.Helper()
	probe, err := db.NewProbe(url, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { probe.Close(context.WithoutCancel(t.Context())) })
	return probe
}

func wantChecked(t testing.TB, probe *db.Probe) {
	t.Helper()
	if err := probe.Check(t.Context()); err != nil {
		t.Errorf("a database that takes writes: %v", err)
	}
}

// probing returns the process of the only probe of the database.
func probing(t testing.TB, conn *pgx.Conn) (pid int) {
	t.Helper()
	err := conn.QueryRow(t.Context(), `select pid from pg_stat_activity
		where datname = current_database() and query like '%-- probe'`).Scan(&pid)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func TestProbe_TellsAStandbyAndADatabaseThatIsAway(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t)
	probe := newProbe(t, server.URL())
	wantChecked(t, probe)
	server.Stop(t)
	for range 2 {
		if err := probe.Check(t.Context()); err == nil || errors.Is(err, db.ErrReadOnly) {
			t.Errorf("a server that is stopped: %v", err)
		}
	}
	server.Start(t)
	wantChecked(t, probe)
	server.StandBy(t)
	for range 2 {
		if err := probe.Check(t.Context()); !errors.Is(err, db.ErrReadOnly) {
			t.Errorf("a standby: %v, want ErrReadOnly", err)
		}
	}
	server.Promote(t)
	wantChecked(t, probe)
}

// The transactions of mutations say that they write, so the default is no matter.
func TestProbe_IgnoresADefaultThatMutationsDoNotTake(t *testing.T) {
	t.Parallel()
	wantChecked(t, newProbe(t, pgtest.URL(t)+"&options=-c%20default_transaction_read_only%3Don"))
}

func TestProbe_KeepsItsConnection(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	probe, conn := newProbe(t, url), connect(t, url)
	wantChecked(t, probe)
	pid := probing(t, conn)
	wantChecked(t, probe)
	if again := probing(t, conn); again != pid {
		t.Errorf("the second check used another connection, process %d after %d", again, pid)
	}
}

// An operator, a proxy or a firewall may end a connection, and one may hang.
func TestProbe_AsksAgainWhenItsConnectionIsOfNoUse(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	probe, conn := newProbe(t, url), connect(t, url)
	wantChecked(t, probe)
	if _, err := conn.Exec(t.Context(), `select pg_terminate_backend($1, 60000)`, probing(t, conn)); err != nil {
		t.Fatal(err)
	}
	wantChecked(t, probe)

	pid := probing(t, conn)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	wantChecked(t, probe)
}

func TestProbe_TakesADatabaseWithoutAFreeConnectionForBusy(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t)
	probe, conn := newProbe(t, pgtest.AsRole(t, server.URL())), connect(t, server.URL())
	for _, sql := range []string{`alter role onceql_tests connection limit 0`, `alter role onceql_tests connection limit -1`} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
		wantChecked(t, probe)
	}
	if probing(t, conn) == 0 {
		t.Error("the last check had a connection")
	}
}

func TestProbe_GivesUpAHostThatHangs(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() // It accepts nobody; the kernel does.
	hanging := listener.Addr().String()
	probe := newProbe(t, "postgres://u:s3cret@"+hanging+"/db?sslmode=disable")
	began := time.Now()
	err = probe.Check(t.Context())
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("the check: %v", err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("the check took %s", took)
	}
	// The next host of the address is asked all the same.
	address := strings.Replace(pgtest.URL(t), "127.0.0.1:", hanging+",127.0.0.1:", 1)
	wantChecked(t, newProbe(t, address))
}
