package e2e_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/onceql/onceql/internal/issuer"
	"github.com/onceql/onceql/internal/pgtest"
)

// withMetrics serves /metrics at an address that the server says.
const withMetrics = "METRICS_ADDR=127.0.0.1:0"

// metricsURL is where the server says that its metrics are, or "". It says so after the
// URL of its API.
func (s *server) metricsURL() string {
	s.t.Helper()
	for line := range strings.Lines(s.stdout.String()) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == "Metrics" {
			return fields[1]
		}
	}
	return ""
}

// scrape returns what /metrics says, as Prometheus reads it and as it is.
func (s *server) scrape() (map[string]*dto.MetricFamily, string) {
	s.t.Helper()
	eventually(s.t, "the server to say where its metrics are", func() bool { return s.metricsURL() != "" })
	status, body := fetch(s.t, s.metricsURL())
	if status != http.StatusOK {
		s.t.Fatalf("/metrics: %d %s", status, body)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	return families, body
}

func fetch(t testing.TB, url string) (status int, body string) {
	t.Helper()
	response, err := prober.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// metric is the value of the metric whose one label, where there is one, has the value.
func (s *server) metric(name, label string) float64 {
	s.t.Helper()
	families, _ := s.scrape()
	for _, m := range families[name].GetMetric() {
		if label == "" && len(m.GetLabel()) == 0 || len(m.GetLabel()) == 1 && m.GetLabel()[0].GetValue() == label {
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	s.t.Fatalf("there is no %s of %q", name, label)
	return 0
}

func wantMetric(t testing.TB, s *server, name, label string, want float64) {
	t.Helper()
	if got := s.metric(name, label); got != want {
		t.Errorf("%s of %q is %v, want %v", name, label, got, want)
	}
}

// wantQueued checks how many calls wait in all lines together.
func wantQueued(t testing.TB, s *server, want float64) {
	t.Helper()
	families, _ := s.scrape()
	got := 0.0
	for _, m := range families["onceql_queue_length"].GetMetric() {
		got += m.GetGauge().GetValue()
	}
	if got != want {
		t.Errorf("%v calls are queued, want %v", got, want)
	}
}

func TestMetrics_AreServedApartFromTheAPI(t *testing.T) {
	t.Parallel()
	s := serve(t, pgtest.URL(t), withMetrics)
	families, _ := s.scrape()
	for name, family := range families {
		if family.GetHelp() == "" {
			t.Errorf("%s has no help text", name)
		}
	}
	for _, name := range []string{"onceql_build_info", "onceql_refused_total", "go_goroutines", "process_open_fds"} {
		if families[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
	wantMetric(t, s, "onceql_database_up", "", 1)
	if a := s.get("/metrics"); a.status != 404 {
		t.Errorf("the API serves /metrics: %d %.100s", a.status, a.raw)
	}
	for _, path := range []string{"/graphql", "/", "/healthz"} {
		if status, body := fetch(t, strings.TrimSuffix(s.metricsURL(), "/metrics")+path); status != 404 {
			t.Errorf("the metrics' listener serves %s: %d %.100s", path, status, body)
		}
	}
	without := serve(t, pgtest.URL(t))
	without.get("/readyz")
	if url := without.metricsURL(); url != "" {
		t.Errorf("nobody asked for metrics at %s", url)
	}
}

// A page whose name was pointed at the listener would be of its origin to a browser. Who has
// to bring a token to the API need not bring one here.
func TestMetrics_AreForTheHostsOfTheirListener(t *testing.T) {
	t.Parallel()
	i := issuer.New(t)
	for name, s := range map[string]*server{
		"anonymous":   serve(t, pgtest.URL(t), "METRICS_ADDR=localhost:0", "ALLOWED_HOSTS=metrics.example"),
		"with tokens": serveTo(t, i, pgtest.URL(t), "METRICS_ADDR=localhost:0", "ALLOWED_HOSTS=metrics.example"),
		"by default":  serveTo(t, i, pgtest.URL(t), withMetrics),
	} {
		eventually(t, "the server to say where its metrics are", func() bool { return s.metricsURL() != "" })
		address := strings.TrimSuffix(strings.TrimPrefix(s.metricsURL(), "http://"), "/metrics")
		allowed := 200
		if name == "by default" {
			allowed = 421
		}
		refusals := 0.0
		for host, want := range map[string]int{
			address: 200, "127.0.0.1": 200, "[::1]:9090": 200, "192.0.2.1": 200, "localhost": 200, "LocalHost.:1": 200,
			"metrics.example:9090": allowed, "evil.example": 421, "localhost.evil.example": 421, "127.0.0.1.evil.example": 421,
		} {
			for _, path := range []string{"/metrics", "/elsewhere"} {
				want := want
				if want == 200 && path == "/elsewhere" {
					want = 404
				}
				status, answer := exchange(t, address, "GET "+path+" HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
				if status != want || status == 421 && (strings.Contains(answer, "onceql_") || strings.Contains(answer, "evil")) {
					t.Errorf("%s, Host %s%s: %d %.100s, want %d", name, host, path, status, answer, want)
				}
				if want == 421 {
					refusals++
				}
			}
		}
		wantMetric(t, s, "onceql_refused_total", "host", refusals)
	}

	// Beyond the machine a Prometheus may know it by any name.
	s := serve(t, pgtest.URL(t), "METRICS_ADDR=0.0.0.0:0")
	eventually(t, "the server to say where its metrics are", func() bool { return s.metricsURL() != "" })
	_, port, _ := net.SplitHostPort(strings.TrimSuffix(strings.TrimPrefix(s.metricsURL(), "http://"), "/metrics"))
	if status, _ := exchange(t, "127.0.0.1:"+port, "GET /metrics HTTP/1.1\r\nHost: onceql:9090\r\nConnection: close\r\n\r\n"); status != 200 {
		t.Errorf("by a name beyond the loopback interface: %d", status)
	}
}

func TestMetrics_NeedAnAddressOfTheirOwn(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, env := range map[string][]string{
		"taken":      {"METRICS_ADDR=" + taken.Addr().String()},
		"the API's":  {"LISTEN_ADDR=127.0.0.1:8080", "METRICS_ADDR=127.0.0.1:8080"},
		"no address": {"METRICS_ADDR=9090"},
		"a URL":      {"METRICS_ADDR=http://127.0.0.1:9090/metrics"},
	} {
		output := refused(t, append(env, "DATABASE_URL=postgres://127.0.0.1:1/none")...)
		if strings.Count(output, "\n") != 1 || !strings.Contains(output, "METRICS_ADDR") {
			t.Errorf("%s: it says this, want one line with METRICS_ADDR:\n%s", name, output)
		}
	}
}
