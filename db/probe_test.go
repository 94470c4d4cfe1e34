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

func newCluster(t testing.TB, url string) *db.Cluster {
	t.Helper()
	cluster, err := db.NewCluster(url, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cluster.Close(context.WithoutCancel(t.Context())) })
	return cluster
}

func wantChecked(t testing.TB, cluster *db.Cluster) {
	t.Helper()
	if err := cluster.Check(t.Context()); err != nil {
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

func TestCheck_TellsAStandbyAndADatabaseThatIsAway(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t)
	cluster := newCluster(t, server.URL())
	wantChecked(t, cluster)
	server.Stop(t)
	for range 2 {
		if err := cluster.Check(t.Context()); err == nil || errors.Is(err, db.ErrReadOnly) {
			t.Errorf("a server that is stopped: %v", err)
		}
	}
	server.Start(t)
	wantChecked(t, cluster)
	server.StandBy(t)
	for range 2 {
		if err := cluster.Check(t.Context()); !errors.Is(err, db.ErrReadOnly) {
			t.Errorf("a standby: %v, want ErrReadOnly", err)
		}
	}
	server.Promote(t)
	wantChecked(t, cluster)
}

// The transactions of mutations say that they write, so the default is no matter.
func TestCheck_IgnoresADefaultThatMutationsDoNotTake(t *testing.T) {
	t.Parallel()
	wantChecked(t, newCluster(t, pgtest.URL(t)+"&options=-c%20default_transaction_read_only%3Don"))
}

func TestCheck_KeepsItsConnection(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	cluster, conn := newCluster(t, url), connect(t, url)
	wantChecked(t, cluster)
	pid := probing(t, conn)
	wantChecked(t, cluster)
	if again := probing(t, conn); again != pid {
		t.Errorf("the second check used another connection, process %d after %d", again, pid)
	}
}

// An operator, a proxy or a firewall may end a connection, and one may hang.
func TestCheck_AsksAgainWhenItsConnectionIsOfNoUse(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	cluster, conn := newCluster(t, url), connect(t, url)
	wantChecked(t, cluster)
	if _, err := conn.Exec(t.Context(), `select pg_terminate_backend($1, 60000)`, probing(t, conn)); err != nil {
		t.Fatal(err)
	}
	wantChecked(t, cluster)

	pid := probing(t, conn)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	wantChecked(t, cluster)
}

// Where a failover moves an address, all connections of before hang.
func TestCheck_HasPoolsReplaceConnectionsWhenItsOwnHangs(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	cluster, conn := newCluster(t, url), connect(t, url)
	wantChecked(t, cluster)
	pool := poolOf(t, cluster)
	var idle int
	if err := pool.QueryRow(t.Context(), `select pg_backend_pid()`).Scan(&idle); err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{probing(t, conn), idle} {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	}
	wantChecked(t, cluster)
	// Whoever comes first would wait for the idle one else.
	if n := pool.Stat().TotalConns(); n != 0 {
		t.Errorf("the pool keeps %d connections", n)
	}
	wantPort(t, pool, url)
}

func TestCheck_TakesADatabaseWithoutAFreeConnectionForBusy(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t)
	cluster, conn := newCluster(t, pgtest.AsRole(t, server.URL())), connect(t, server.URL())
	for _, sql := range []string{`alter role onceql_tests connection limit 0`, `alter role onceql_tests connection limit -1`} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
		wantChecked(t, cluster)
	}
	if probing(t, conn) == 0 {
		t.Error("the last check had a connection")
	}
}

func TestCheck_GivesUpAHostThatHangs(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() // It accepts nobody; the kernel does.
	hanging := listener.Addr().String()
	cluster := newCluster(t, "postgres://u:s3cret@"+hanging+"/db?sslmode=disable")
	began := time.Now()
	err = cluster.Check(t.Context())
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("the check: %v", err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("the check took %s", took)
	}
	// The next host of the address is asked all the same.
	address := strings.Replace(pgtest.URL(t), "127.0.0.1:", hanging+",127.0.0.1:", 1)
	wantChecked(t, newCluster(t, address))
}

// What the role may not ask is asked once, or it fills the server's log. What failed once
// for another reason is asked again.
func TestCheck_AsksNoFurtherForWhatItMayNotAsk(t *testing.T) {
	t.Parallel()
	for state, want := range map[string]int{
		"42501": 1, // insufficient_privilege
		"0A000": 1, // feature_not_supported
		"57014": 3, // query_canceled
	} {
		server := pgtest.NewServer(t)
		exec(t, server.URL(), `create schema other`, `grant usage on schema other to public`,
			`create function other.pg_control_system() returns table (system_identifier bigint) language plpgsql as
				$$ begin raise 'it was asked' using errcode = '`+state+`'; end $$`)
		address := strings.Replace(pgtest.AsRole(t, server.URL()), "127.0.0.1:", refusing(t)+",127.0.0.1:", 1)
		cluster := newCluster(t, address+"&options=-c%20search_path%3Dother,pg_catalog")
		wantAsked := func(want int) {
			t.Helper()
			if got := strings.Count(server.Log(t), "ERROR:  it was asked"); got != want {
				t.Errorf("asked %d times for what fails with %s, want %d", got, state, want)
			}
		}
		for range 3 {
			wantChecked(t, cluster)
		}
		wantAsked(want)
		cluster.Close(t.Context())
		wantChecked(t, cluster) // Who answers a new connection may be another server.
		wantAsked(want + 1)
	}
}

// Each commit that is tried waits as long as there is no standby.
func TestCheck_TriesOneCommitAtATime(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t)
	cluster, conn := newCluster(t, pgtest.AsRole(t, server.URL())), connect(t, server.URL())
	set(t, conn, "nobody")
	eventually(t, "the check to tell", func() bool { return errors.Is(cluster.Check(t.Context()), db.ErrCommitsWait) })
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if err := cluster.Check(t.Context()); !errors.Is(err, db.ErrCommitsWait) {
			t.Errorf("the check: %v, want ErrCommitsWait", err)
		}
	}
	var waiting int
	if err := conn.QueryRow(t.Context(), `select count(*) from pg_stat_activity where wait_event = 'SyncRep'`).Scan(&waiting); err != nil {
		t.Fatal(err)
	}
	if waiting != 1 {
		t.Errorf("%d commits wait, want one", waiting)
	}
	set(t, conn, "")
}

// Where the commit can't be tried at all, it is not tried at each check.
func TestCheck_TriesACommitNowAndThen(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t)
	cluster := newCluster(t, pgtest.AsRole(t, server.URL()))
	exec(t, server.URL(), `alter role onceql_tests connection limit 1`) // The probe's own.
	set(t, connect(t, server.URL()), "nobody")
	began := time.Now()
	tried := func() int {
		wantChecked(t, cluster)
		return strings.Count(server.Log(t), "too many connections for role")
	}
	eventually(t, "a commit to be tried twice", func() bool { return tried() >= 2 })
	times := tried()
	if took := time.Since(began); times > 1+int(took/(2*time.Second)) {
		t.Errorf("tried %d times in %s, want one each 2 s", times, took)
	}
}
