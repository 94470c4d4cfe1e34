package telemetry

import (
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

// pools collects what the pools of connections say of themselves.
type pools struct{ sources func() *Sources }

var (
	poolConnections = describe("onceql_pool_connections", "Connections of a pool, by what they do.", "pool", "state")
	poolMax         = describe("onceql_pool_max_connections", "Connections that a pool has at most.", "pool")
	poolWaits       = describe("onceql_pool_waits_total", "Times that no connection was idle, so that one was waited for or opened.", "pool")
	poolWait        = describe("onceql_pool_wait_seconds_total", "How long was waited for connections that were not idle.", "pool")
	queriesWaiting  = describe("onceql_queries_waiting", "Queries that wait for their tenant's turn at a connection.")
)

// Describe implements prometheus.Collector.
func (p *pools) Describe(descs chan<- *prometheus.Desc) { prometheus.DescribeByCollect(p, descs) }

// Collect implements prometheus.Collector.
func (p *pools) Collect(metrics chan<- prometheus.Metric) {
	sources := p.sources()
	send := func(desc *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, kind, value, labels...)
	}
	for name, stat := range map[string]func() PoolStat{"engine": sources.EnginePool, "queries": sources.QueriesPool} {
		s := stat()
		send(poolConnections, prometheus.GaugeValue, float64(s.InUse), name, "in_use")
		send(poolConnections, prometheus.GaugeValue, float64(s.Idle), name, "idle")
		send(poolConnections, prometheus.GaugeValue, float64(s.Opening), name, "opening")
		send(poolMax, prometheus.GaugeValue, float64(s.Max), name)
		send(poolWaits, prometheus.CounterValue, float64(s.Waits), name)
		send(poolWait, prometheus.CounterValue, s.WaitSeconds, name)
	}
	send(queriesWaiting, prometheus.GaugeValue, float64(sources.QueriesWaiting()))
}

// A PoolStat is what a pool does at a moment, and how often and how long somebody had to
// wait so far.
type PoolStat struct {
	InUse, Idle, Opening, Max int32
	Waits                     int64
	WaitSeconds               float64
}

// PoolStats returns the source of a pool's metrics.
func PoolStats(pool *pgxpool.Pool) func() PoolStat {
	return func() PoolStat {
		s := pool.Stat()
		return PoolStat{
			InUse: s.AcquiredConns(), Idle: s.IdleConns(), Opening: s.ConstructingConns(), Max: s.MaxConns(),
			Waits: s.EmptyAcquireCount(), WaitSeconds: s.EmptyAcquireWaitTime().Seconds(),
		}
	}
}
