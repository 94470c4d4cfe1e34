package telemetry

import (
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// fullFor is how long after its last refusal the queue is called full.
const fullFor = 5 * time.Second

// A queue tells when the queue begins to refuse, and when it no longer does.
type queue struct {
	log   *slog.Logger
	gauge prometheus.Gauge

	mu    sync.Mutex
	full  bool
	count int
	since time.Time
	last  time.Time
}

func newQueue(registry *prometheus.Registry, log *slog.Logger) *queue {
	q := &queue{log: log, gauge: prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "onceql_queue_full",
		Help: "Whether the queue had no place for a request in the last 5 seconds.",
	})}
	registry.MustRegister(q.gauge)
	return q
}

func (q *queue) refused() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.last = time.Now()
	q.count++
	if q.full {
		return
	}
	q.full, q.since, q.count = true, q.last, 1
	q.gauge.Set(1)
	q.log.Warn("the queue is full")
	time.AfterFunc(fullFor, q.check)
}

// check ends the time in which the queue is full, or comes again when that may be over.
func (q *queue) check() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if left := fullFor - time.Since(q.last); left > 0 {
		time.AfterFunc(left, q.check)
		return
	}
	q.full = false
	q.gauge.Set(0)
	q.log.Info("the queue has room again", "refused", q.count, "full", q.last.Sub(q.since))
}

func (q *queue) isFull() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.full
}
