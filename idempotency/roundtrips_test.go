package idempotency_test

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/idempotency"
)

// trips counts round trips: how often something is read after a write.
type trips struct {
	mu    sync.Mutex
	wrote bool
	count int
}

func (t *trips) since() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.count
	t.count = 0
	return n
}

type countingConn struct {
	net.Conn
	trips *trips
}

func (c countingConn) Write(b []byte) (int, error) {
	c.trips.mu.Lock()
	c.trips.wrote = true
	c.trips.mu.Unlock()
	return c.Conn.Write(b)
}

func (c countingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.trips.mu.Lock()
	defer c.trips.mu.Unlock()
	if c.trips.wrote && n > 0 {
		c.trips.wrote = false
		c.trips.count++
	}
	return n, err
}

func TestDo_TakesTwoRoundTripsPlusTheEffect(t *testing.T) {
	t.Parallel()
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeExec} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			takesTwoRoundTrips(t, mode)
		})
	}
}

func takesTwoRoundTrips(t *testing.T, mode pgx.QueryExecMode) {
	t.Helper()
	f := newFixture(t)
	config, err := pgxpool.ParseConfig(f.url)
	if err != nil {
		t.Fatal(err)
	}
	var count trips
	config.ConnConfig.DefaultQueryExecMode = mode
	config.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		return countingConn{conn, &count}, err
	}
	config.MaxConns = 1
	// A connection that was idle for a second is pinged, which is one more.
	config.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false }
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	engine := f.engineOn(pool, idempotency.Config{})

	nothing := func(context.Context, pgx.Tx) (note, error) { return note{}, nil }
	for _, test := range []struct {
		name   string
		key    string
		effect effect
		want   int
	}{
		{"statements are prepared once", "first", write("a"), -1},
		{"no effect", "no effect", nothing, 2},
		{"an effect of one statement", "one statement", write("a"), 3},
		{"a replay", "first", never(t), 2},
		{"another replay", "first", never(t), 2},
		{"another call", "another", nothing, 2},
	} {
		if _, err := run(t.Context(), engine, call(test.key, "a"), test.effect); err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		// A replay is answered before its transaction ends.
		eventually(t, "the connection to be released", func() bool { return pool.Stat().AcquiredConns() == 0 })
		got := count.since()
		if test.want < 0 {
			t.Logf("%s: %d round trips, with the connection's own", test.name, got)
		} else if got != test.want {
			t.Errorf("%s: %d round trips, want %d", test.name, got, test.want)
		}
	}
}
