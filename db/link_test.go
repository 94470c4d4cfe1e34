package db_test

import (
	"context"
	"net"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"weak"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/onceql/onceql/db"
	"github.com/onceql/onceql/internal/pgtest"
)

// dialling begins a connection of the cluster's pools, and returns the function that dials
// for it. dial takes the place of the network.
func dialling(t testing.TB, cluster *db.Cluster, dial pgconn.DialFunc) func(context.Context) (net.Conn, error) {
	t.Helper()
	pool := poolOf(t, cluster).Config()
	config := pool.ConnConfig.Copy()
	config.DialFunc = dial
	if err := pool.BeforeConnect(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port)))
	return func(ctx context.Context) (net.Conn, error) { return config.DialFunc(ctx, "tcp", address) }
}

// twice is an address that names one server twice.
func twice(t testing.TB) string {
	t.Helper()
	address := pgtest.URL(t)
	return both(t, address, strings.Replace(address, "127.0.0.1", "localhost", 1))
}

func wantClosed(t testing.TB, conn net.Conn) {
	t.Helper()
	if conn.SetDeadline(time.Time{}) == nil {
		t.Error("the connection is open")
	}
}

// Whether the primary turns out to be another before a dial, during it or after it: no
// connection is left that leads elsewhere.
func TestCluster_LeavesNoConnectionThatBeganElsewhere(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, twice(t))
	before := dialling(t, cluster, func(context.Context, string, string) (net.Conn, error) {
		t.Error("dialled for a connection to a server that is not the primary")
		return nil, net.ErrClosed
	})
	begun, goOn := make(chan struct{}), make(chan struct{})
	conn, other := net.Pipe()
	defer other.Close()
	during := dialling(t, cluster, func(context.Context, string, string) (net.Conn, error) {
		close(begun)
		<-goOn // It is through when the cluster would end it.
		return conn, nil
	})
	dialled := make(chan error, 1)
	go func() {
		_, err := during(t.Context())
		dialled <- err
	}()
	<-begun
	after, err := dialling(t, cluster, (&net.Dialer{}).DialContext)(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	wantChecked(t, cluster) // Now the primary is known.
	if _, err := before(t.Context()); err == nil {
		t.Error("a connection that began elsewhere was dialled")
	}
	close(goOn)
	if err := <-dialled; err == nil {
		t.Error("a connection that began elsewhere is used")
	}
	wantClosed(t, conn)
	wantClosed(t, after)
}

// A server lives long, and makes many connections.
func TestCluster_KeepsNothingOfConnectionsThatEnded(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, twice(t))
	for what, dial := range map[string]pgconn.DialFunc{
		"closed": func(context.Context, string, string) (net.Conn, error) {
			conn, other := net.Pipe()
			return conn, other.Close()
		},
		"refused": func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed },
	} {
		begin := dialling(t, cluster, dial)
		left := func() weak.Pointer[[1024]byte] {
			type key struct{}
			carried := new([1024]byte) // The dial's context has it.
			if conn, err := begin(context.WithValue(t.Context(), key{}, carried)); err == nil {
				_ = conn.Close()
			}
			return weak.Make(carried)
		}()
		eventually(t, "the memory of a connection that was "+what+" to be free", func() bool {
			runtime.GC()
			return left.Value() == nil
		})
	}
	runtime.KeepAlive(cluster)
}

func TestPrefer_TriesThePrimaryFirst(t *testing.T) {
	t.Parallel()
	address, refusing := pgtest.URL(t), refusing(t)
	primary := hostOf(t, address)
	address = strings.Replace(address, primary, refusing+","+primary, 1)
	address = strings.Replace(address, "sslmode=disable", "sslmode=prefer", 1)
	cluster := newCluster(t, address)
	config, err := pgx.ParseConfig(address)
	if err != nil {
		t.Fatal(err)
	}
	order := func() (hosts []string) {
		cluster.Prefer(config)
		first := &pgconn.FallbackConfig{Host: config.Host, Port: config.Port, TLSConfig: config.TLSConfig}
		for _, f := range append([]*pgconn.FallbackConfig{first}, config.Fallbacks...) {
			host := net.JoinHostPort(f.Host, strconv.Itoa(int(f.Port)))
			if f.TLSConfig != nil {
				host += " with TLS"
			}
			hosts = append(hosts, host)
		}
		return hosts
	}
	if diff := cmp.Diff([]string{refusing + " with TLS", refusing, primary + " with TLS", primary}, order()); diff != "" {
		t.Errorf("before the primary is known:\n%s", diff)
	}
	wantChecked(t, cluster)
	if diff := cmp.Diff([]string{primary + " with TLS", primary, refusing + " with TLS", refusing}, order()); diff != "" {
		t.Errorf("once it is known:\n%s", diff)
	}
}

// A server that has no TLS is asked for it first, on one way as on the other.
func TestCluster_FallsBackToConnectionsWithoutTLS(t *testing.T) {
	t.Parallel()
	address := strings.Replace(pgtest.URL(t), "sslmode=disable", "sslmode=prefer", 1)
	wantChecked(t, newCluster(t, address))
	refusing := refusing(t)
	cluster := newCluster(t, strings.Replace(address, "127.0.0.1:", refusing+",127.0.0.1:", 1))
	wantChecked(t, cluster)
	wantPort(t, poolOf(t, cluster), address)
	// One host is one, however it is connected to.
	cluster = newCluster(t, "postgres://u@"+refusing+","+refusing+"/db?sslmode=prefer")
	if err := cluster.Check(t.Context()); err == nil || strings.Contains(err.Error(), ";") {
		t.Errorf("one host that refuses: %v", err)
	}
}
