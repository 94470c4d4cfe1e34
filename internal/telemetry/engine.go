package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/onceql/onceql/idempotency"
)

// The kinds of workers, and with apart the lines in which calls wait for them.
const (
	single = "single"
	batch  = "batch"
	apart  = "apart"
)

// engine collects what an idempotency.Engine says of itself: each scrape asks it once, so
// that what a scrape says holds together.
type engine struct {
	sources func() *Sources
	started time.Time
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	inFlight      = describe("onceql_calls_in_flight", "Keys that have a call at work or in the queue.")
	callers       = describe("onceql_callers_waiting", "Callers that wait for a call in flight; several may wait for one key.")
	queueLength   = describe("onceql_queue_length", "Calls that wait for a worker, by the line in which they wait.", "line")
	queueCapacity = describe("onceql_queue_capacity", "Calls that may wait for a worker.")
	queueWait     = describe("onceql_queue_wait_seconds", "How long calls had been in the queue when a worker took them, by the kind of worker.", "kind")
	workersBusy   = describe("onceql_workers_busy", "Workers that run something, by kind.", "kind")
	batchSize     = describe("onceql_batch_size", "Calls in a batch.")
	tenantsApart  = describe("onceql_tenants_apart", "Tenants that harmed batches lately and have batches of their own.")
	bisections    = describe("onceql_bisections_total", "Batches that failed and were bisected to find the calls to blame.")
	purged        = describe("onceql_purged_rows_total", "Rows past their retention that this server's purges removed.")
	purgeFailures = describe("onceql_purge_failures_total", "Purges that ended with an error.")
	purgedAt      = describe("onceql_purge_last_success_timestamp_seconds", "When a purge last ended well; until then, when the server started.")
)

// Describe implements prometheus.Collector.
func (e *engine) Describe(descs chan<- *prometheus.Desc) { prometheus.DescribeByCollect(e, descs) }

// Collect implements prometheus.Collector.
func (e *engine) Collect(metrics chan<- prometheus.Metric) {
	sources := e.sources()
	s := sources.Engine()
	gauge := func(desc *prometheus.Desc, value int, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value), labels...)
	}
	counter := func(desc *prometheus.Desc, value uint64) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value))
	}
	gauge(inFlight, s.InFlight)
	gauge(callers, s.Waiting)
	gauge(queueLength, s.QueuedSingle, single)
	gauge(queueLength, s.QueuedBatched, batch)
	gauge(queueLength, s.QueuedApart, apart)
	gauge(queueCapacity, sources.QueueCapacity)
	metrics <- waits(s.SingleWaits, single)
	metrics <- waits(s.BatchedWaits, batch)
	gauge(workersBusy, s.Workers, single)
	gauge(workersBusy, s.Batches, batch)
	metrics <- sizes(s.Sizes, s.Batched)
	gauge(tenantsApart, s.Apart)
	counter(bisections, s.Bisections)
	counter(purged, s.Purged)
	counter(purgeFailures, s.PurgeFailures)
	ended := s.PurgedAt
	if ended.IsZero() {
		ended = e.started
	}
	metrics <- prometheus.MustNewConstMetric(purgedAt, prometheus.GaugeValue, float64(ended.UnixMilli())/1e3)
}

// waitBounds are in seconds.
var waitBounds = seconds(idempotency.WaitBounds())

func seconds(durations []time.Duration) []float64 {
	bounds := make([]float64, len(durations))
	for i, d := range durations {
		bounds[i] = d.Seconds()
	}
	return bounds
}

func waits(w idempotency.Waits, kind string) prometheus.Metric {
	count, buckets := cumulate(waitBounds, w.Counts[:])
	return prometheus.MustNewConstHistogram(queueWait, count, w.Total.Seconds(), buckets, kind)
}

// sizeBounds are those of idempotency.Stats.Sizes.
var sizeBounds = []float64{1, 2, 4, 8, 16, 32, 64}

func sizes(batches [8]uint64, calls uint64) prometheus.Metric {
	count, buckets := cumulate(sizeBounds, batches[:])
	return prometheus.MustNewConstHistogram(batchSize, count, float64(calls), buckets)
}

// cumulate returns how many there are of all, and of those up to each bound. The last of
// counts are those beyond all bounds.
func cumulate(bounds []float64, counts []uint64) (count uint64, buckets map[float64]uint64) {
	buckets = make(map[float64]uint64, len(bounds))
	for i, bound := range bounds {
		count += counts[i]
		buckets[bound] = count
	}
	return count + counts[len(bounds)], buckets
}
