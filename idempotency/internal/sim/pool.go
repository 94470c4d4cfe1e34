package sim

import (
	"context"
	"runtime/pprof"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Pool returns the configuration of a pool to the cluster's primary for the client with
// the name, with nothing in it that is left to chance. Its connections are named after the
// client: "server1#3" is the third that it dialled.
func (c *Cluster) Pool(client string) *pgxpool.Config {
	config, err := pgxpool.ParseConfig("postgres://onceql@db1:5432,db2:5432/onceql?sslmode=disable&target_session_attrs=read-write&connect_timeout=5")
	if err != nil {
		panic(err) // It is as above.
	}
	config.MaxConnLifetime = 1000 * time.Hour
	config.MaxConnIdleTime = 1000 * time.Hour
	config.HealthCheckPeriod = 1000 * time.Hour
	config.ConnConfig.DialFunc = c.Dialer(client)
	config.ConnConfig.LookupFunc = Lookup
	config.ConnConfig.Tracer = &pacer{cluster: c, client: client, workers: map[string]*Stream{}}
	config.ShouldPing, config.PrepareConn = shouldPing, ping
	return config
}

// A pacer parts the workers of an engine that something wakes at one instant: each takes
// its connection a moment later, by a stream of its own. Then it does not matter in which
// order the runtime lets them run.
type pacer struct {
	cluster *Cluster
	client  string
	workers map[string]*Stream
}

// TraceAcquireStart implements pgxpool.AcquireTracer.
func (p *pacer) TraceAcquireStart(ctx context.Context, _ *pgxpool.Pool, _ pgxpool.TraceAcquireStartData) context.Context {
	if worker, ok := pprof.Label(ctx, "worker"); ok {
		c := p.cluster
		c.mu.Lock()
		stream := p.workers[worker]
		if stream == nil {
			stream = c.Stream(p.client + " " + worker)
			p.workers[worker] = stream
		}
		d := c.instant(stream.Below(c.config.Delay / 20))
		c.mu.Unlock()
		time.Sleep(d)
	}
	return ctx
}

// TraceAcquireEnd implements pgxpool.AcquireTracer.
func (*pacer) TraceAcquireEnd(context.Context, *pgxpool.Pool, pgxpool.TraceAcquireEndData) {}

// TraceQueryStart implements pgx.QueryTracer.
func (*pacer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

// TraceQueryEnd implements pgx.QueryTracer.
func (*pacer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// pinging is where a connection keeps that it is to be pinged.
const pinging = "sim.ping"

// shouldPing leaves to ping what pgxpool would do itself. When a context ends during its
// ping, pgxpool sees that by the context or by the ping's error, whichever its select
// draws, and goes on in two ways.
func shouldPing(_ context.Context, params pgxpool.ShouldPingParams) bool {
	params.Conn.PgConn().CustomData()[pinging] = params.IdleDuration > time.Second
	return false
}

// ping pings a connection that was idle, and says whether it is of use.
func ping(ctx context.Context, conn *pgx.Conn) (bool, error) {
	if idle, _ := conn.PgConn().CustomData()[pinging].(bool); idle {
		return conn.Ping(ctx) == nil, nil
	}
	return true, nil
}
