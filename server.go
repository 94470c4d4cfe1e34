// OnceQL is a GraphQL API server whose mutations take effect at most once per
// idempotency key, on PostgreSQL.
package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/db"
	"github.com/onceql/onceql/graph"
	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/idempotency/gqlidem"
	"github.com/onceql/onceql/internal/embeddedpg"
	"github.com/onceql/onceql/internal/identity"
	"github.com/onceql/onceql/internal/operator"
	"github.com/onceql/onceql/internal/quota"
	"github.com/onceql/onceql/internal/requestid"
	"github.com/onceql/onceql/internal/server"
	"github.com/onceql/onceql/internal/telemetry"
	"github.com/onceql/onceql/internal/telemetry/tracing"
	"github.com/onceql/onceql/playground"
)

//go:embed schema.graphql
var schemaSDL []byte

// engineConns are the engine's connections, of which it makes its workers. Those of the
// queries and of the probe are apart from them, so that none can starve another.
const engineConns = 21

// maxHead is how large a request's head may be, in bytes, whose sender nobody knows yet. A
// token has 8 KiB at most.
const maxHead = 24 << 10

// collectAt is how much garbage there may be, in percent of what lives, before it
// is collected. So little lives that Go's 100 would collect it a hundred times a
// second; GOGC sets another.
const collectAt = 300

func main() {
	embeddedpg.Supervise()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	command := parse(os.Args[1:])
	ctx := untilSignalled(context.Background())
	command.BindTo(ctx, (*context.Context)(nil))
	err := command.Run()
	if status := operator.Status(0); errors.As(err, &status) {
		os.Exit(int(status))
	}
	command.FatalIfErrorf(err)
}

// Run serves until ctx ends, and then drains.
func (c *serveCommand) Run(ctx context.Context) error {
	log := c.logger()
	if limit, err := limitMemory(); err != nil {
		log.Warn("the memory limit can't be found out; set GOMEMLIMIT", "err", err)
	} else {
		log.Debug("memory is limited", "bytes", limit)
	}
	err := c.serve(ctx, log)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		log.Info("stopped before it served")
		err = nil
	}
	return err
}

func (c *serveCommand) serve(ctx context.Context, log *slog.Logger) error {
	// What runs finishes after ctx ended; DrainDelay and DrainTimeout bound it.
	running := context.WithoutCancel(ctx)

	metrics := telemetry.New(version(), log, graph.Operations()...)
	if c.MetricsTenants {
		metrics.CountTenants()
	}
	traces := tracing.New(ctx, tracing.Config{Version: version(), TrustParent: c.TrustParent, Log: log})
	scraped, err := telemetry.Listen(ctx, c.MetricsAddr)
	if err != nil {
		return err
	}
	if scraped != nil {
		defer scraped.Close()
		go metrics.Serve(scraped, c.ofMetricsHosts(metrics.Refusals, metrics.Handler()))
	}
	go returnMemory(ctx)

	database, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer database.close(running)
	if err := database.migrate(ctx, log); err != nil {
		return err
	}
	cluster, err := db.NewCluster(database.url, log)
	if err != nil {
		return err
	}
	cluster.Trace(traces.Postgres())
	cluster.Find(ctx)
	keyed, err := cluster.Open(running, engineConns)
	if err != nil {
		return err
	}
	defer release(keyed)
	pool, err := cluster.Open(running, c.QueryConnections)
	if err != nil {
		return err
	}
	defer release(pool)
	database.warn(ctx, pool, log)
	identify, err := server.NewIdentifier(ctx, c.identity(metrics.KeysFetched), log)
	if err != nil {
		return err
	}

	defer traces.Close(running)
	logEvent := server.LogEvents(running, log)
	engine := idempotency.New(keyed, c.idempotency(func(event idempotency.Event) {
		metrics.Observe(event)
		logEvent(event)
	}, traces.Engine()))
	if err := engine.Check(ctx); errors.Is(err, idempotency.ErrTable) {
		return errors.Join(err, engine.Close(running))
	} else if err != nil {
		log.Warn("the database can't be checked yet", "err", graph.Describe(err))
	}
	once := gqlidem.New(engine, identity.Tenant, gqlidem.WithRequestID(requestid.From), gqlidem.WithTraceID(tracing.IDs), gqlidem.Strict())
	queries := db.NewQueries(pool, c.QueryTimeout, c.QueryQueue)
	resolver := graph.NewResolver(once, engine, queries, identity.Tenant)
	resolver.RefuseIfVersion = !c.AcceptVersion
	ended := telemetry.Together(metrics.CallEnded, telemetry.LogCalls(log), traces.Ended)
	resolver.Ended = ended
	resolver.May = server.May
	resolver.SetQuota(quota.Usage{Keys: c.TenantKeys, Bytes: c.TenantBytes}, log)
	api := graph.NewHandler(resolver, once, graph.Config{
		MaxBody:            c.MaxBodyBytes,
		MaxValues:          c.LimitValues,
		MaxAnswer:          c.LimitAnswerBytes,
		BodyMemory:         c.BodyMemoryBytes,
		AnswerMemory:       c.AnswerMemoryBytes,
		AnswerTimeout:      c.AnswerTimeout,
		Decoding:           c.DecodeAtOnce,
		TenantRequests:     c.tenantRequests(),
		DocumentCacheBytes: c.DocumentCacheBytes,
		Tenant:             identity.Tenant,
		Limits:             c.limits(),
		HideSchema:         !c.Introspection,
		May:                server.May,
		Log:                log,
		Refused:            metrics.Refusals.Refuse,
		Ended:              ended,
		Around:             traces.Fields(),
	})
	health := server.NewHealth(cluster.Check, c.Wait, metrics.Refusals, log)
	metrics.Read(telemetry.Sources{
		Engine:         engine.Stats,
		QueueCapacity:  idempotency.DefaultQueue,
		EnginePool:     telemetry.PoolStats(keyed),
		QueriesPool:    telemetry.PoolStats(pool),
		QueriesWaiting: queries.Waiting,
		Database:       health.State,
		Draining:       health.Draining,
	})

	requests := server.NewRequests()
	mux := http.NewServeMux()
	mux.Handle("/graphql", traces.Handler("/graphql", server.CORS(c.CORSOrigins, metrics.Refusals, server.Authenticate(identify, metrics.Refusals, server.Rate(c.rate(), requests.Draining(), metrics.Refusals, health.Admit(engine.Refuses, server.RequestTimeout(c.RequestTimeout, api)))))))
	page := playground.Handler(c.Introspection)
	mux.Handle("GET /{$}", page)
	mux.Handle("GET /playground/", page)
	if c.Introspection {
		mux.HandleFunc("GET /schema.graphql", serveSchema)
	}
	mux.HandleFunc("GET /healthz", health.Live)
	mux.HandleFunc("GET /readyz", health.Ready)

	handler := server.SecurityHeaders(c.ofOurHosts(metrics.Refusals, mux))
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.ListenAddr)
	if err != nil {
		return errors.Join(err, once.Close(running))
	}
	web := &http.Server{
		Handler:           metrics.CountRequests(requests.Count(requestid.Handler(handler))),
		ReadHeaderTimeout: c.HeaderTimeout,
		ReadTimeout:       c.BodyTimeout,
		WriteTimeout:      c.BodyTimeout + c.RequestTimeout + c.AnswerTimeout,
		IdleTimeout:       c.IdleTimeout,
		MaxHeaderBytes:    maxHead,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- web.Serve(listener) }()
	watching, stopWatching := context.WithCancel(running)
	defer stopWatching()
	go func() {
		health.Watch(watching)
		cluster.Close(running)
	}()
	announce(listener.Addr(), scraped, database)

	select {
	case err := <-served:
		return errors.Join(err, once.Close(running))
	case <-database.lost():
	case <-ctx.Done():
	}
	log.Info("draining", "delay", c.DrainDelay, "timeout", c.DrainTimeout)
	health.Drain()
	requests.Drain()
	select {
	case <-database.lost():
		err = errors.New("the embedded PostgreSQL ended")
	case <-time.After(c.DrainDelay):
	}
	draining, cancel := context.WithTimeout(running, c.DrainTimeout)
	defer cancel()
	whole := web.Shutdown(draining) == nil
	// Who still waits hears UNAVAILABLE.
	if once.Close(draining) != nil && unended(running, once) {
		err = errors.Join(err, errors.New("executions have not ended within DRAIN_TIMEOUT"))
	}
	if !whole {
		err = errors.Join(err, requests.Abandon(running, web, log))
	}
	return err
}

// ofOurHosts refuses requests for other hosts, which the pages of strangers might send: who
// is authenticated brings a token, which such a page has not.
func (c *serveCommand) ofOurHosts(refusals *telemetry.Refusals, next http.Handler) http.Handler {
	if c.AuthIssuer != "" && len(c.AllowedHosts) == 0 {
		return next
	}
	return server.NewHosts(c.ListenAddr, c.AllowedHosts).Only(refusals, next)
}

// ofMetricsHosts does the same for metrics that the machine alone should read. Those at any
// other address are for whoever reaches it, by whichever name.
func (c *serveCommand) ofMetricsHosts(refusals *telemetry.Refusals, next http.Handler) http.Handler {
	if host, _, _ := net.SplitHostPort(c.MetricsAddr); !loopback(host) {
		return next
	}
	return server.NewHosts(c.MetricsAddr, c.AllowedHosts).Only(refusals, next)
}

// unended says whether executions run on. The last one may have ended with its request,
// and its worker a moment later.
func unended(ctx context.Context, once *gqlidem.Once) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return once.Close(ctx) != nil
}

// release closes the pool. It hardly waits for an execution that outlived the
// drain: its connection ends with the process, and Postgres rolls it back unless
// it is in its COMMIT.
func release(pool *pgxpool.Pool) {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		pool.Close()
	}()
	select {
	case <-closed:
	case <-time.After(time.Second):
	}
}

func serveSchema(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write(schemaSDL)
}

// announce says on standard output where everything is.
func announce(address net.Addr, scraped net.Listener, database *database) {
	fmt.Printf("OnceQL %s\n  API         http://%s/graphql\n  Playground  http://%s/\n  Data        %s\n",
		version(), address, address, database.place)
	if scraped != nil {
		fmt.Printf("  Metrics     http://%s/metrics\n", scraped.Addr())
	}
}

// stamp is the version that `make build` gives the program.
var stamp string

// version is the stamp, or the module's, which the go command knows, or "devel".
func version() string {
	if stamp != "" {
		return stamp
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}
