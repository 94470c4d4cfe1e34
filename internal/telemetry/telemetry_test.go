package telemetry_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/internal/telemetry"
)

// serve serves the metrics until the test ends, and returns the URL of their server.
func serve(t testing.TB, tel *telemetry.Telemetry) string {
	t.Helper()
	listener, err := telemetry.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		tel.Serve(listener, tel.Handler())
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	return "http://" + listener.Addr().String()
}

func get(t testing.TB, method, url string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestServe_AnswersScrapesAndNothingElse(t *testing.T) {
	t.Parallel()
	tel, log := newTelemetry()
	url := serve(t, tel)
	for _, other := range []string{"/", "/graphql", "/metrics/", "/metrics/x", "/debug/pprof/", "/healthz"} {
		if status, body := get(t, http.MethodGet, url+other); status != 404 {
			t.Errorf("%s is answered with %d %s", other, status, body)
		}
	}
	if status, _ := get(t, http.MethodPost, url+"/metrics"); status != 405 {
		t.Errorf("POST is answered with %d", status)
	}
	status, body := get(t, http.MethodGet, url+"/metrics")
	if status != 200 {
		t.Fatalf("/metrics is answered with %d %s", status, body)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, family := range families {
		if family.GetHelp() == "" {
			t.Errorf("%s has no help text", name)
		}
	}
	for _, name := range []string{"onceql_build_info", "onceql_refused_total", "onceql_database_up", "go_goroutines", "process_resident_memory_bytes"} {
		if families[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
	log.lines(t, 0)
}

func TestTelemetry_ReadsItsSourcesAtEachScrape(t *testing.T) {
	t.Parallel()
	tel, _ := newTelemetry()
	want := func(queued, up, unreachable, commitsWait float64) {
		t.Helper()
		got := [4]float64{
			value(t, tel, "onceql_queue_length", "single"), value(t, tel, "onceql_database_up", ""),
			value(t, tel, "onceql_database_away", "unreachable"), value(t, tel, "onceql_database_away", "commits_wait"),
		}
		if got != [4]float64{queued, up, unreachable, commitsWait} {
			t.Errorf("queued, up, unreachable, commits wait: %v", got)
		}
	}
	want(0, 0, 0, 0)
	queued, state := 7, telemetry.DatabaseUp
	sources := idle()
	sources.Engine = func() idempotency.Stats { return idempotency.Stats{Queued: queued, QueuedSingle: queued} }
	sources.Database = func() telemetry.DatabaseState { return state }
	tel.Read(sources)
	want(7, 1, 0, 0)
	queued, state = 8, telemetry.DatabaseUnreachable
	want(8, 0, 1, 0)
	state = telemetry.DatabaseCommitsWait
	want(8, 0, 0, 1)
}

// idle are the sources of a server that does nothing.
func idle() telemetry.Sources {
	none := func() telemetry.PoolStat { return telemetry.PoolStat{} }
	return telemetry.Sources{
		Engine: func() idempotency.Stats { return idempotency.Stats{} }, EnginePool: none, QueriesPool: none,
		QueriesWaiting: func() int { return 0 },
		Database:       func() telemetry.DatabaseState { return telemetry.DatabaseUp },
		Draining:       func() bool { return false },
	}
}

func TestValidateAddress(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		address, api string
		good         bool
	}{
		{"", "127.0.0.1:8080", true},
		{"127.0.0.1:9090", "127.0.0.1:8080", true},
		{"127.0.0.1:0", "127.0.0.1:0", true},
		{":9090", ":8080", true},
		{"127.0.0.2:8080", "127.0.0.1:8080", true},
		{"[::1]:9090", "[::1]:8080", true},
		{"localhost:9090", "127.0.0.1:8080", true},
		{"192.0.2.1:8080", "localhost:8080", true},
		{"127.0.0.1:8080", "127.0.0.1:8080", false},
		{"localhost:8080", "127.0.0.1:8080", false},
		{"127.0.0.1:8080", "LOCALHOST:08080", false},
		{"[::ffff:127.0.0.1]:8080", "127.0.0.1:8080", false},
		{":8080", "127.0.0.1:8080", false},
		{"127.0.0.1:8080", "0.0.0.0:8080", false},
		{"127.0.0.1:8080", "[::]:8080", false},
		{"127.0.0.1", "127.0.0.1:8080", false},
		{"9090", "127.0.0.1:8080", false},
		{"127.0.0.1:http", "127.0.0.1:8080", false},
		{"127.0.0.1:65536", "127.0.0.1:8080", false},
		{"127.0.0.1:", "127.0.0.1:8080", false},
		{"http://127.0.0.1:9090", "127.0.0.1:8080", false},
		{"::1:9090", "127.0.0.1:8080", false},
		{"a b:9090", "127.0.0.1:8080", false},
	} {
		err := telemetry.ValidateAddress(c.address, c.api)
		if (err == nil) != c.good {
			t.Errorf("%q with the API at %q: %v", c.address, c.api, err)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "METRICS_ADDR") {
			t.Errorf("it does not name the setting: %v", err)
		}
	}
}

func TestListen_SaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	taken, err := telemetry.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, err = telemetry.Listen(t.Context(), taken.Addr().String())
	if err == nil || !strings.HasPrefix(err.Error(), "METRICS_ADDR: ") {
		t.Errorf("error %v", err)
	}
	if none, err := telemetry.Listen(t.Context(), ""); none != nil || err != nil {
		t.Errorf("without an address there is %v, %v", none, err)
	}
}
