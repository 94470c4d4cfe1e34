// Package telemetry is what the server tells its operator: what it counts, at /metrics
// on a listener apart from the API's, and what it refuses, in the log.
//
//	t := telemetry.New(version, log, "createProject", "updateProject")
//	t.Refusals.Refuse(ctx, telemetry.Scope, "createProject")
//	t.CallEnded(ctx, telemetry.Call{Operation: "createProject", Outcome: telemetry.CallExecuted, …})
//	t.Read(telemetry.Sources{Engine: engine.Stats, Database: …, …})
//	listener, err := telemetry.Listen(ctx, address)
//	go t.Serve(listener, t.Handler())
//
// Every metric of the program is made by New, has a help text, and labels whose values
// are known beforehand: no tenant, no key, nothing that a client sent.
package telemetry

import (
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/onceql/onceql/idempotency"
)

// Telemetry holds the metrics of one server. It is safe for use by many goroutines.
type Telemetry struct {
	// Registry gathers the metrics.
	Registry *prometheus.Registry
	// Refusals counts what is refused, and logs it.
	Refusals *Refusals

	log      *slog.Logger
	calls    calls
	requests *requests
	tenants  *TenantCalls
	fetches  *prometheus.CounterVec
	sources  atomic.Pointer[Sources]
}

// Sources are asked at each scrape. All of them are set.
type Sources struct {
	// Engine says what the engine does, and QueueCapacity how many calls may wait in its
	// queue.
	Engine        func() idempotency.Stats
	QueueCapacity int
	// EnginePool and QueriesPool say how the connections are used, see PoolStats, and
	// QueriesWaiting how many queries wait for one.
	EnginePool, QueriesPool func() PoolStat
	QueriesWaiting          func() int
	// Database is why the database takes no mutations, or DatabaseUp.
	Database func() DatabaseState
	// Draining says whether the server is about to stop.
	Draining func() bool
}

// A DatabaseState is what the last probe of the database found.
type DatabaseState string

// The states of a database, of which all but the first are those of
// onceql_database_away.
const (
	DatabaseUp          DatabaseState = "up"
	DatabaseUnreachable DatabaseState = "unreachable"
	DatabaseReadOnly    DatabaseState = "read_only"
	DatabaseCommitsWait DatabaseState = "commits_wait"
)

// New returns the metrics of a server of that version whose keyed mutations are the
// operations. Until Read is called, its engine and its pools do nothing, and its database
// is in none of the states.
func New(version string, log *slog.Logger, operations ...string) *Telemetry {
	registry := prometheus.NewRegistry()
	t := &Telemetry{
		Registry: registry, Refusals: newRefusals(registry, log), log: log,
		calls: newCalls(registry, operations), requests: newRequests(registry),
	}
	t.fetches = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "onceql_issuer_fetches_total",
		Help: "Fetches of the token issuer's keys, by whether they brought any.",
	}, []string{"result"})
	for _, result := range []string{fetched, failed} {
		t.fetches.WithLabelValues(result)
	}
	none := func() PoolStat { return PoolStat{} }
	t.sources.Store(&Sources{
		Engine:     func() idempotency.Stats { return idempotency.Stats{} },
		EnginePool: none, QueriesPool: none,
		QueriesWaiting: func() int { return 0 },
		Database:       func() DatabaseState { return "" },
		Draining:       func() bool { return false },
	})
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "onceql_build_info",
		Help:        "Always 1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	registry.MustRegister(
		build,
		t.fetches,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		&engine{sources: t.sources.Load, started: time.Now()},
		&pools{sources: t.sources.Load},
		gauge("onceql_database_up", "Whether the last probe found a database that takes mutations.", nil, t.inState(DatabaseUp)),
		gauge("onceql_draining", "Whether the server is about to stop.", nil, func() float64 { return truth(t.sources.Load().Draining()) }),
	)
	for _, state := range []DatabaseState{DatabaseUnreachable, DatabaseReadOnly, DatabaseCommitsWait} {
		registry.MustRegister(gauge("onceql_database_away", "Whether the database takes no mutations for that reason.",
			prometheus.Labels{"reason": string(state)}, t.inState(state)))
	}
	return t
}

const (
	fetched = "ok"
	failed  = "failed"
)

// CountTenants has the calls of tenants counted too, and Handler tell them. It is called
// before anything else.
func (t *Telemetry) CountTenants() { t.tenants = NewTenantCalls() }

// KeysFetched counts a fetch of the issuer's keys, and err is why it failed.
func (t *Telemetry) KeysFetched(err error) {
	result := fetched
	if err != nil {
		result = failed
	}
	t.fetches.WithLabelValues(result).Inc()
}

// Read has the metrics read from the sources from now on.
func (t *Telemetry) Read(sources Sources) { t.sources.Store(&sources) }

func (t *Telemetry) inState(state DatabaseState) func() float64 {
	return func() float64 { return truth(t.sources.Load().Database() == state) }
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func gauge(name, help string, labels prometheus.Labels, read func() float64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, read)
}
