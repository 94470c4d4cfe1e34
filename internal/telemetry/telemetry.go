// Package telemetry is what the server tells its operator: what it counts, at /metrics
// on a listener apart from the API's, and what it refuses, in the log.
//
//	t := telemetry.New(version, log)
//	t.Refusals.Refuse(ctx, telemetry.Scope, "createProject")
//	t.Read(telemetry.Sources{Queued: …, Database: …})
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

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Telemetry holds the metrics of one server. It is safe for use by many goroutines.
type Telemetry struct {
	// Registry gathers the metrics.
	Registry *prometheus.Registry
	// Refusals counts what is refused, and logs it.
	Refusals *Refusals

	log     *slog.Logger
	fetches *prometheus.CounterVec
	sources atomic.Pointer[Sources]
}

// Sources are asked at each scrape.
type Sources struct {
	// Queued is how many calls wait for a worker.
	Queued func() int
	// Database is why the database takes no mutations, or DatabaseUp.
	Database func() DatabaseState
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

// New returns the metrics of a server of that version. Until Read is called, its queue
// is empty and its database is in none of the states.
func New(version string, log *slog.Logger) *Telemetry {
	registry := prometheus.NewRegistry()
	t := &Telemetry{Registry: registry, Refusals: newRefusals(registry, log), log: log}
	t.fetches = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "onceql_issuer_fetches_total",
		Help: "Fetches of the token issuer's keys, by whether they brought any.",
	}, []string{"result"})
	for _, result := range []string{fetched, failed} {
		t.fetches.WithLabelValues(result)
	}
	t.sources.Store(&Sources{
		Queued:   func() int { return 0 },
		Database: func() DatabaseState { return "" },
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
		gauge("onceql_queue_length", "Calls that wait for a worker.", nil, func() float64 { return float64(t.sources.Load().Queued()) }),
		gauge("onceql_database_up", "Whether the last probe found a database that takes mutations.", nil, t.inState(DatabaseUp)),
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
	return func() float64 {
		if t.sources.Load().Database() == state {
			return 1
		}
		return 0
	}
}

func gauge(name, help string, labels prometheus.Labels, read func() float64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, read)
}
