package db_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/db"
	"github.com/onceql/onceql/internal/pgtest"
)

// both is an address of two servers, for a role of the first that is above nothing.
func both(t testing.TB, first, second string) string {
	t.Helper()
	first = pgtest.AsRole(t, first)
	one, err := url.Parse(first)
	if err != nil {
		t.Fatal(err)
	}
	two, err := url.Parse(second)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(first, one.Host, one.Host+","+two.Host, 1)
}

// watch checks the cluster over and over, as a server does, until stop is called.
func watch(t testing.TB, cluster *db.Cluster) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			_ = cluster.Check(ctx)
			time.Sleep(50 * time.Millisecond)
		}
	}()
	stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(stop)
	return stop
}

func poolOf(t testing.TB, cluster *db.Cluster) *pgxpool.Pool {
	t.Helper()
	pool, err := cluster.Open(t.Context(), 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// portOf is where the pool's next connection leads.
func portOf(t testing.TB, pool *pgxpool.Pool) (port string, err error) {
	t.Helper()
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		return "", err
	}
	defer conn.Release()
	if err := conn.Ping(t.Context()); err != nil {
		return "", err
	}
	_, port, err = net.SplitHostPort(conn.Conn().PgConn().Conn().RemoteAddr().String())
	return port, err
}

func wantPort(t testing.TB, pool *pgxpool.Pool, address string) {
	t.Helper()
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	if port, err := portOf(t, pool); err != nil || port != parsed.Port() {
		t.Errorf("the pool leads to port %s, %v; want %s", port, err, parsed.Port())
	}
}

// Whatever runs on a primary that is silent, or that nobody fenced, ends when another
// server was promoted.
func TestCluster_LeavesAPrimaryAtAPromotion(t *testing.T) {
	t.Parallel()
	for _, silent := range []bool{false, true} {
		old := pgtest.NewServer(t)
		next := old.Follower(t)
		cluster := newCluster(t, both(t, old.URL(), next.URL()))
		wantChecked(t, cluster)
		pool := poolOf(t, cluster)
		wantPort(t, pool, old.URL())
		running := make(chan error, 2)
		begin := func(sql string) {
			_, err := pool.Exec(t.Context(), sql)
			running <- err
		}
		go begin(`select pg_sleep(3600)`)
		eventually(t, "the statement to run", func() bool { return pool.Stat().AcquiredConns() == 1 })
		if silent {
			old.Freeze(t)
			go begin(`select 1`) // On the idle connection, or on one that is never made.
		} else {
			running <- errors.New("none")
		}
		watch(t, cluster)
		next.Promote(t)
		for range 2 {
			if err := <-running; err == nil {
				t.Error("a statement at the old primary ended well")
			}
		}
		wantPort(t, pool, next.URL())
		wantChecked(t, cluster)
	}
}

// Also when the new primary is away for a while: what the old one takes is lost.
func TestCluster_DoesNotGoBackToAnOldPrimary(t *testing.T) {
	t.Parallel()
	old := pgtest.NewServer(t)
	next := old.Follower(t)
	cluster := newCluster(t, both(t, old.URL(), next.URL()))
	next.Promote(t)
	wantChecked(t, cluster)
	pool := poolOf(t, cluster)
	wantPort(t, pool, next.URL())
	next.Stop(t)
	for range 3 {
		if err := cluster.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "an old primary") {
			t.Errorf("with the old primary alone: %v", err)
		}
		if port, err := portOf(t, pool); err == nil {
			t.Errorf("the pool leads to port %s", port)
		}
	}
	next.Start(t)
	wantChecked(t, cluster)
	wantPort(t, pool, next.URL())
}

// Two addresses of one server are like two poolers: neither is newer.
func TestCluster_StaysWhereItIsAsLongAsThatTakesWrites(t *testing.T) {
	t.Parallel()
	address := pgtest.URL(t)
	again := strings.Replace(address, "127.0.0.1", "localhost", 1)
	wantStays(t, newCluster(t, both(t, address, again)))
}

// The timelines of servers that never were one can't be compared.
func TestCluster_OfTwoSystemsStaysWhereItIs(t *testing.T) {
	t.Parallel()
	first, second := pgtest.NewServer(t), pgtest.NewServer(t)
	pgtest.AsRole(t, second.URL())
	second.StandBy(t)
	second.Promote(t)
	cluster := newCluster(t, both(t, first.URL(), second.URL()))
	wantPort(t, wantStays(t, cluster), first.URL())
	second.StandBy(t)
	wantChecked(t, cluster)
	second.Promote(t)
	wantPort(t, wantStays(t, cluster), first.URL())
	// The other one's data are not these: a key that was used would be new there.
	first.Stop(t)
	if err := cluster.Check(t.Context()); err == nil {
		t.Error("the other system counts as this database")
	}
	if port, err := portOf(t, poolOf(t, cluster)); err == nil {
		t.Errorf("the pool leads to port %s", port)
	}
	first.Start(t)
	wantChecked(t, cluster)
	wantPort(t, wantStays(t, cluster), first.URL())
}

// wantStays checks that nothing becomes of connections over some checks.
func wantStays(t testing.TB, cluster *db.Cluster) *pgxpool.Pool {
	t.Helper()
	pool := poolOf(t, cluster)
	wantChecked(t, cluster)
	pid := func() (pid int) {
		t.Helper()
		if err := pool.QueryRow(t.Context(), `select pg_backend_pid()`).Scan(&pid); err != nil {
			t.Fatal(err)
		}
		return pid
	}
	before := pid()
	for range 5 {
		wantChecked(t, cluster)
	}
	if pid() != before {
		t.Error("the connection was not kept")
	}
	return pool
}

// Without a right on what tells the timeline there is nothing to compare.
func TestCluster_WithoutTimelinesStaysWhereItIs(t *testing.T) {
	t.Parallel()
	old := pgtest.NewServer(t)
	if _, err := connect(t, old.URL()).Exec(t.Context(), `revoke execute on function pg_control_system from public`); err != nil {
		t.Fatal(err)
	}
	next := old.Follower(t)
	cluster := newCluster(t, both(t, old.URL(), next.URL()))
	next.Promote(t)
	for range 2 {
		wantChecked(t, cluster)
	}
	pool := poolOf(t, cluster)
	wantPort(t, pool, old.URL())
	old.Stop(t)
	wantChecked(t, cluster)
	wantPort(t, pool, next.URL())
}

// An address of two servers of which neither takes writes.
func TestCluster_OfStandbysIsReadOnly(t *testing.T) {
	t.Parallel()
	first, second := pgtest.NewServer(t), pgtest.NewServer(t)
	pgtest.AsRole(t, second.URL())
	address := both(t, first.URL(), second.URL())
	first.StandBy(t)
	second.StandBy(t)
	cluster := newCluster(t, address)
	if err := cluster.Check(t.Context()); !errors.Is(err, db.ErrReadOnly) {
		t.Errorf("two standbys: %v, want ErrReadOnly", err)
	}
	second.Stop(t)
	if err := cluster.Check(t.Context()); err == nil || errors.Is(err, db.ErrReadOnly) {
		t.Errorf("a standby and nothing: %v", err)
	}
	second.Start(t)
	second.Promote(t)
	wantChecked(t, cluster)
	wantPort(t, poolOf(t, cluster), second.URL())
}

// With nobody who commits, and with a role that sees of others' sessions that they are
// there.
func TestCheck_TellsThatCommitsWaitForAStandby(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t)
	cluster, conn := newCluster(t, pgtest.AsRole(t, server.URL())), connect(t, server.URL())
	for range 2 {
		wantChecked(t, cluster)
		set(t, conn, "nobody")
		eventually(t, "the check to tell", func() bool { return errors.Is(cluster.Check(t.Context()), db.ErrCommitsWait) })
		set(t, conn, "")
		eventually(t, "the check to tell no longer", func() bool { return cluster.Check(t.Context()) == nil })
	}
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		wantChecked(t, cluster)
	}
}

func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func set(t testing.TB, conn *pgx.Conn, standbys string) {
	t.Helper()
	for _, sql := range []string{`alter system set synchronous_standby_names = '` + standbys + `'`, `select pg_reload_conf()`} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
}

// A host that swallows packets keeps a dial as long as connect_timeout says. Once the
// primary is known nobody waits for it.
func TestCluster_EndsDialsToAHostThatSwallowsPackets(t *testing.T) {
	t.Parallel()
	address := pgtest.AsRole(t, pgtest.URL(t))
	swallowing := strings.Replace(address, "127.0.0.1:", swallow(t)+",127.0.0.1:", 1)
	cluster := newCluster(t, swallowing+"&connect_timeout=3600")
	pool := poolOf(t, cluster)
	dialled := make(chan error)
	go func() { dialled <- pool.Ping(t.Context()) }()
	eventually(t, "the dial to begin", func() bool { return pool.Stat().ConstructingConns() == 1 })
	wantChecked(t, cluster)
	if err := <-dialled; err == nil {
		t.Error("the host that swallows packets was connected to")
	}
	wantPort(t, pool, address)
}

// swallow returns the address of a host that answers nothing, not even to a dial: its
// backlog is full.
func swallow(t testing.TB) string {
	t.Helper()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(socket) })
	if err := errors.Join(syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(socket, 0)); err != nil {
		t.Fatal(err)
	}
	bound, err := syscall.Getsockname(socket)
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(bound.(*syscall.SockaddrInet4).Port))
	for {
		conn, err := net.DialTimeout("tcp", address, 200*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { conn.Close() })
	}
}
