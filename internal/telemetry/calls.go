package telemetry

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/onceql/onceql/idempotency"
)

// unknownOperation is the label of an operation that New was not told of: a defect.
const unknownOperation = "other"

// durations are the buckets of what callers wait for, in seconds: a replay takes less than a
// millisecond, and a wait is 5 seconds unless it is set.
var durations = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// calls counts the keyed calls of each operation.
type calls map[string]*operation

// An operation counts its calls.
type operation struct {
	ended                   [outcomes]prometheus.Counter
	executed, replayed      prometheus.Observer
	committed               prometheus.Counter
	retries, unknownCommits prometheus.Counter
}

func newCalls(registry *prometheus.Registry, operations []string) calls {
	ended := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "onceql_calls_total",
		Help: "Keyed calls that ended, by operation and outcome.",
	}, []string{"operation", "outcome"})
	took := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "onceql_call_duration_seconds",
		Help:    "How long keyed calls took that were executed or replayed, as their callers waited.",
		Buckets: durations,
	}, []string{"operation", "outcome"})
	committed := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "onceql_executions_total",
		Help: "Executions whose effect committed, whether or not their caller still waited.",
	}, []string{"operation"})
	retries := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "onceql_retries_total",
		Help: "Executions that met a conflict or could not reach the database, and were tried again.",
	}, []string{"operation"})
	unknown := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "onceql_unknown_commits_total",
		Help: "Commits that went unanswered, and whose row was looked up.",
	}, []string{"operation"})
	registry.MustRegister(ended, took, committed, retries, unknown)
	c := calls{}
	for _, name := range append([]string{unknownOperation}, operations...) {
		o := &operation{
			executed:       took.WithLabelValues(name, CallExecuted.String()),
			replayed:       took.WithLabelValues(name, CallReplayed.String()),
			committed:      committed.WithLabelValues(name),
			retries:        retries.WithLabelValues(name),
			unknownCommits: unknown.WithLabelValues(name),
		}
		for _, outcome := range Outcomes() {
			o.ended[outcome] = ended.WithLabelValues(name, outcome.String())
		}
		c[name] = o
	}
	return c
}

func (c calls) of(name string) *operation {
	if o := c[name]; o != nil {
		return o
	}
	return c[unknownOperation]
}

// CallEnded counts a keyed call. It is an Ended.
func (t *Telemetry) CallEnded(_ context.Context, call Call) {
	o := t.calls.of(call.Operation)
	o.ended[call.Outcome].Inc()
	switch call.Outcome {
	case CallExecuted:
		o.executed.Observe(call.Duration.Seconds())
	case CallReplayed:
		o.replayed.Observe(call.Duration.Seconds())
	}
	if t.tenants != nil {
		t.tenants.Count(call)
	}
}

// Observe counts what the engine tells of, besides what its Stats have.
func (t *Telemetry) Observe(event idempotency.Event) {
	switch event.Kind {
	case idempotency.Executed:
		t.calls.of(event.Operation).committed.Inc()
	case idempotency.Retried:
		t.calls.of(event.Operation).retries.Inc()
	case idempotency.CommitUnknown:
		t.calls.of(event.Operation).unknownCommits.Inc()
	}
}
