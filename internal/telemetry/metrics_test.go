package telemetry_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/internal/identity"
	"github.com/onceql/onceql/internal/telemetry"
)

func gather(t testing.TB, tel *telemetry.Telemetry) []*dto.MetricFamily {
	t.Helper()
	families, err := tel.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// values are those of a family's metrics by the values of their labels, with the count and
// the sum of a histogram in place of its value.
func values(t testing.TB, tel *telemetry.Telemetry, name string) map[string]float64 {
	t.Helper()
	all := map[string]float64{}
	for _, family := range gather(t, tel) {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			var labels []string
			for _, label := range m.GetLabel() {
				labels = append(labels, label.GetValue())
			}
			key := strings.Join(labels, " ")
			if h := m.GetHistogram(); h != nil {
				if h.GetSampleCount() > 0 {
					all[key+" count"], all[key+" sum"] = float64(h.GetSampleCount()), h.GetSampleSum()
				}
				continue
			}
			if v := m.GetCounter().GetValue() + m.GetGauge().GetValue(); v != 0 {
				all[key] = v
			}
		}
	}
	return all
}

func wantValues(t testing.TB, tel *telemetry.Telemetry, name string, want map[string]float64) {
	t.Helper()
	if diff := cmp.Diff(want, values(t, tel, name)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// The conventions are those of https://prometheus.io/docs/practices/naming/.
func TestMetrics_FollowTheConventions(t *testing.T) {
	t.Parallel()
	tel, _ := newTelemetry()
	families := gather(t, tel)
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
	for _, family := range families {
		if help := family.GetHelp(); strings.HasPrefix(family.GetName(), "onceql_") && (len(help) < 10 || !strings.HasSuffix(help, ".")) {
			t.Errorf("%s has the help text %q", family.GetName(), help)
		}
	}
}

func TestCallEnded_CountsByOperationAndOutcome(t *testing.T) {
	t.Parallel()
	tel, _ := newTelemetry()
	for i, outcome := range telemetry.Outcomes() {
		for range i + 1 {
			tel.CallEnded(t.Context(), telemetry.Call{Operation: "createProject", Outcome: outcome, Duration: 250 * time.Millisecond})
		}
	}
	tel.CallEnded(t.Context(), telemetry.Call{Operation: "a defect", Outcome: telemetry.CallExecuted, Duration: time.Second})
	wantValues(t, tel, "onceql_calls_total", map[string]float64{
		"createProject executed": 1, "createProject replayed": 2, "createProject reused": 3, "createProject expired": 4,
		"createProject in_progress": 5, "createProject refused": 6, "createProject unavailable": 7, "createProject internal": 8,
		"createProject cancelled": 9, "other executed": 1,
	})
	wantValues(t, tel, "onceql_call_duration_seconds", map[string]float64{
		"createProject executed count": 1, "createProject executed sum": .25, "createProject replayed count": 2, "createProject replayed sum": .5,
		"other executed count": 1, "other executed sum": 1,
	})
	for kind, times := range map[idempotency.EventKind]int{idempotency.Retried: 2, idempotency.CommitUnknown: 3, idempotency.Executed: 9, idempotency.Purged: 9} {
		for range times {
			tel.Observe(idempotency.Event{Kind: kind, Operation: "updateProject"})
		}
	}
	wantValues(t, tel, "onceql_executions_total", map[string]float64{"updateProject": 9})
	wantValues(t, tel, "onceql_retries_total", map[string]float64{"updateProject": 2})
	wantValues(t, tel, "onceql_unknown_commits_total", map[string]float64{"updateProject": 3})
}

// It is not parallel: the allocations of other tests would count.
func TestCallEnded_AllocatesNothing(t *testing.T) {
	tel, _ := newTelemetry()
	call := telemetry.Call{Operation: "createProject", Outcome: telemetry.CallExecuted, Duration: time.Millisecond}
	if n := testing.AllocsPerRun(100, func() { tel.CallEnded(t.Context(), call) }); n > 0 {
		t.Errorf("it makes %v allocations", n)
	}
}

func TestMetrics_TellWhatTheEngineAndThePoolsDo(t *testing.T) {
	t.Parallel()
	tel, _ := newTelemetry()
	started := values(t, tel, "onceql_purge_last_success_timestamp_seconds")[""]
	if since := time.Since(time.UnixMilli(int64(started * 1e3))).Abs(); since > time.Minute {
		t.Errorf("before the first purge its last success was %v ago, want when the server started", since)
	}
	stats := idempotency.Stats{
		InFlight: 1, Waiting: 2, Queued: 12, QueuedSingle: 3, QueuedBatched: 4, QueuedApart: 5, Workers: 6, Batches: 7, Apart: 8,
		Single: 9, Batched: 73, SingleWaits: idempotency.Waits{Total: 2 * time.Second}, Sizes: [8]uint64{1, 0, 0, 1, 0, 0, 0, 1},
		Bisections: 10, Purged: 11, PurgeFailures: 12, PurgedAt: time.UnixMilli(1_700_000_000_500),
	}
	bounds := idempotency.WaitBounds()
	if len(stats.SingleWaits.Counts) != len(bounds)+1 {
		t.Fatalf("%d counts for %d bounds", len(stats.SingleWaits.Counts), len(bounds))
	}
	stats.SingleWaits.Counts[1], stats.SingleWaits.Counts[len(bounds)] = 8, 1
	sources := idle()
	sources.Engine = func() idempotency.Stats { return stats }
	sources.QueueCapacity = 13
	sources.EnginePool = func() telemetry.PoolStat {
		return telemetry.PoolStat{InUse: 1, Idle: 2, Opening: 3, Max: 4, Waits: 5, WaitSeconds: .5}
	}
	sources.QueriesWaiting = func() int { return 14 }
	sources.Draining = func() bool { return true }
	tel.Read(sources)
	for name, want := range map[string]map[string]float64{
		"onceql_calls_in_flight":                      {"": 1},
		"onceql_callers_waiting":                      {"": 2},
		"onceql_queue_length":                         {"single": 3, "batch": 4, "apart": 5},
		"onceql_queue_capacity":                       {"": 13},
		"onceql_queue_wait_seconds":                   {"single count": 9, "single sum": 2},
		"onceql_workers_busy":                         {"single": 6, "batch": 7},
		"onceql_batch_size":                           {" count": 3, " sum": 73},
		"onceql_tenants_apart":                        {"": 8},
		"onceql_bisections_total":                     {"": 10},
		"onceql_purged_rows_total":                    {"": 11},
		"onceql_purge_failures_total":                 {"": 12},
		"onceql_purge_last_success_timestamp_seconds": {"": 1_700_000_000.5},
		"onceql_pool_connections":                     {"engine in_use": 1, "engine idle": 2, "engine opening": 3},
		"onceql_pool_max_connections":                 {"engine": 4},
		"onceql_pool_waits_total":                     {"engine": 5},
		"onceql_pool_wait_seconds_total":              {"engine": .5},
		"onceql_queries_waiting":                      {"": 14},
		"onceql_draining":                             {"": 1},
	} {
		wantValues(t, tel, name, want)
	}
	for _, family := range gather(t, tel) {
		for _, m := range family.GetMetric() {
			cumulative := map[float64]uint64{}
			for _, b := range m.GetHistogram().GetBucket() {
				cumulative[b.GetUpperBound()] = b.GetCumulativeCount()
			}
			switch {
			case family.GetName() == "onceql_batch_size":
				if diff := cmp.Diff(map[float64]uint64{1: 1, 2: 1, 4: 1, 8: 2, 16: 2, 32: 2, 64: 2}, cumulative); diff != "" {
					t.Errorf("batches (-want +got):\n%s", diff)
				}
			case family.GetName() == "onceql_queue_wait_seconds" && m.GetLabel()[0].GetValue() == "single":
				if cumulative[.0005] != 0 || cumulative[.001] != 8 || cumulative[10] != 8 {
					t.Errorf("waits: %v", cumulative)
				}
			}
		}
	}
}

func TestCountRequests_CountsByClasses(t *testing.T) {
	t.Parallel()
	tel, _ := newTelemetry()
	handler := tel.CountRequests(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := values(t, tel, "onceql_http_requests_in_flight")[""]; got != 1 {
			t.Errorf("%v are in flight", got)
		}
		switch r.URL.Path {
		case "/graphql":
			w.WriteHeader(http.StatusProcessing)
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte("busy"))
		case "/playground/app/x.js":
			http.Redirect(w, r, "/", http.StatusFound)
		case "/abort":
			panic(http.ErrAbortHandler)
		case "/healthz":
			_, _ = w.Write([]byte("ok"))
		case "/readyz":
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Errorf("what is below can't be reached: %v", err)
			}
		}
	}))
	server := httptest.NewServer(handler)
	for method, path := range map[string]string{
		"POST": "/graphql", "HEAD": "/playground/app/x.js", "DELETE": "/abort", "PURGE": "/healthz", "OPTIONS": "/readyz",
	} {
		request, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if response, err := http.DefaultTransport.RoundTrip(request); err == nil {
			_ = response.Body.Close()
		} else if path != "/abort" {
			t.Errorf("%s: %v", path, err)
		}
		// An answer arrives before its request is counted as ended.
		for values(t, tel, "onceql_http_requests_in_flight")[""] > 0 {
			runtime.Gosched()
		}
	}
	server.Close() // It waits for the handlers.
	wantValues(t, tel, "onceql_http_requests_total", map[string]float64{
		"POST graphql 5xx": 1, "HEAD playground 3xx": 1, "other other aborted": 1, "other healthz 2xx": 1, "OPTIONS readyz 2xx": 1,
	})
	wantValues(t, tel, "onceql_http_response_bytes_total", map[string]float64{"graphql": 4, "healthz": 2})
	wantValues(t, tel, "onceql_http_requests_in_flight", map[string]float64{})
}

// series is how many there are: what a Prometheus has to keep.
func series(t testing.TB, tel *telemetry.Telemetry) (n int) {
	t.Helper()
	for _, family := range gather(t, tel) {
		for _, m := range family.GetMetric() {
			n += 1
			if h := m.GetHistogram(); h != nil {
				n += len(h.GetBucket()) + 2
			}
		}
	}
	return n
}

func TestMetrics_DoNotGrowWithWhatClientsSend(t *testing.T) {
	t.Parallel()
	tel, _ := newTelemetry()
	handler := tel.CountRequests(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200 + len(r.URL.Path)%400)
	}))
	before := series(t, tel)
	random := rand.New(rand.NewPCG(1, 2))
	text := func() string { return fmt.Sprintf("%x", random.Uint64()) }
	for range 10_000 {
		tenant := text()
		ctx := identity.With(t.Context(), identity.Identity{Tenant: tenant})
		tel.CallEnded(ctx, telemetry.Call{
			Tenant: tenant, Key: text(), Operation: text(), Outcome: telemetry.Outcomes()[random.IntN(9)], ExecutedBy: text(),
		})
		tel.Refusals.Refuse(ctx, telemetry.Reason(text()), text())
		tel.Observe(idempotency.Event{Kind: idempotency.Retried, Operation: text(), RequestID: text()})
		request := httptest.NewRequestWithContext(ctx, strings.ToUpper(text()), fmt.Sprintf("/%.*s?%s", random.IntN(16), text(), text()), http.NoBody)
		request.Host = text() + ".example"
		handler.ServeHTTP(httptest.NewRecorder(), request)
	}
	if after := series(t, tel); after != before {
		t.Errorf("%d series are %d", before, after)
	}
}
