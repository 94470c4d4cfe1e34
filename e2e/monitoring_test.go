package e2e_test

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/onceql/onceql/internal/issuer"
	"github.com/onceql/onceql/internal/pgtest"
)

// runPromtool runs it in deploy/prometheus.
func runPromtool(t testing.TB, input string, arguments ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "promtool", arguments...)
	cmd.Dir, cmd.Stdin = "../deploy/prometheus", strings.NewReader(input)
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(arguments, " "), err, output)
	}
}

func TestAlerts_PassPromtool(t *testing.T) {
	t.Parallel()
	runPromtool(t, "", "check", "rules", "alerts.yml")
	runPromtool(t, "", "check", "config", "prometheus.yml")
	runPromtool(t, "", "test", "rules", "alerts_test.yml")
	rules, err := os.ReadFile("../deploy/prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("../deploy/prometheus/alerts_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, alert := range regexp.MustCompile(`(?m)- alert: (\w+)$`).FindAllStringSubmatch(string(rules), -1) {
		fires := regexp.MustCompile(`alertname: ` + alert[1] + `\n\s+exp_alerts:\n`)
		quiet := regexp.MustCompile(`alertname: ` + alert[1] + `\n\s+exp_alerts: \[\]\n`)
		if !fires.Match(tests) || !quiet.Match(tests) {
			t.Errorf("alerts_test.yml does not try when %s fires, and when not", alert[1])
		}
	}
}

// monitored sends a little of everything, at most 400 requests a second, until the function
// that it returns is called, or the test ends.
func monitored(t testing.TB, s *server, i *issuer.Issuer) (end func()) {
	t.Helper()
	send := func(r request, header []string) {
		if a, err := s.try(t.Context(), r, header...); err != nil || a.status >= 500 {
			t.Errorf("%v, %d %s", err, a.status, a.raw)
		}
	}
	headers := [][]string{bearer(i.Token("acme")), bearer(i.Token("globex"))}
	first := s.send(create("first", "Apollo"), headers[0]...).project().ID
	reads := bearer(i.Sign(i.Claims("acme", "projects:read")))
	stop := make(chan struct{})
	var callers sync.WaitGroup
	end = sync.OnceFunc(func() {
		close(stop)
		callers.Wait()
	})
	t.Cleanup(end)
	for caller := range 4 {
		callers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-time.After(10 * time.Millisecond):
				}
				header, key := headers[caller%2], fmt.Sprintf("%d %d", caller, n/2) // Each is sent twice.
				switch n % 11 {
				case 1:
					send(create("first", "Gemini"), headers[0]) // Reused.
				case 3:
					send(create(key+" refused", ""), header)
				case 5:
					send(rename(key+" rename", first, "Mercury"), headers[0])
				case 7:
					send(request{Query: "{ projects { nodes { id } } }"}, header)
					send(request{Query: "{ " + strings.Repeat("a: __typename ", 300) + "}"}, header)
				case 9:
					send(create(key, "Apollo"), reads) // Forbidden.
					for _, path := range []string{"/", "/readyz"} {
						if response, err := prober.Get(s.url + path); err != nil {
							t.Error(err)
						} else {
							_ = response.Body.Close()
						}
					}
				default:
					send(create(key, "Apollo"), header)
				}
			}
		})
	}
	return end
}

// rateInterval is what Grafana's $__rate_interval is for this test's scrapes.
const rateInterval = "4s"

// Debian's Prometheus, with the configuration and the rules of deploy/prometheus, scrapes a
// real server under load and answers every query of the dashboard.
func TestMonitoring_DashboardAndAlertsOnARealPrometheus(t *testing.T) {
	t.Parallel()
	i := issuer.New(t)
	s := serveTo(t, i, pgtest.URL(t), withMetrics, "GOMEMLIMIT=1GiB")
	end := monitored(t, s, i)
	p := startPrometheus(t, s)
	families, text := s.scrape()
	runPromtool(t, text, "check", "metrics")
	eventually(t, "scrapes", func() bool {
		scrapes := p.query(`count_over_time(onceql_build_info{job="onceql"}[1m])`)
		return len(scrapes) == 1 && len(scrapes[0].value()) > 1 // At least 10.
	})
	table := checkDashboard(t, p, families)
	if path := os.Getenv("DASHBOARD"); path != "" {
		if err := os.WriteFile(path, table, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	checkAlerts(t, p, families)
	end()
	s.terminate()
	s.wait()
	eventually(t, "the alert that the server is down", func() bool {
		return len(p.query(`ALERTS{alertname="OnceQLDown", alertstate="pending", job="onceql"}`)) == 1
	})
}

// A panel that nobody explains leaves its reader alone.
func TestMonitoring_EveryPanelIsExplained(t *testing.T) {
	t.Parallel()
	manual, err := os.ReadFile("../docs/operations/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	_, tables, _ := strings.Cut(string(manual), "\n## The panels\n")
	tables, _, _ = strings.Cut(tables, "\n## ")
	var explained, panels []string
	for _, row := range regexp.MustCompile(`(?m)^\| (.+?) \| .+ \|$`).FindAllStringSubmatch(tables, -1) {
		if row[1] != "panel" {
			explained = append(explained, row[1])
		}
	}
	for _, panel := range dashboard(t) {
		panels = append(panels, panel.Title)
	}
	if !slices.Equal(panels, explained) {
		t.Errorf("docs/operations/metrics.md explains the panels %q, and the dashboard has %q", explained, panels)
	}
}

// checkDashboard runs each query of the dashboard and returns a table of what they say.
func checkDashboard(t testing.TB, p *prometheus, families map[string]*dto.MetricFamily) []byte {
	t.Helper()
	var table bytes.Buffer
	shown := map[string]bool{}
	for _, panel := range dashboard(t) {
		if panel.Description == "" || len(panel.Targets) == 0 {
			t.Errorf("%s has no description, or no query", panel.Title)
		}
		fmt.Fprintf(&table, "%s\n", panel.Title)
		for _, target := range panel.Targets {
			checkNames(t, panel.Title, target.Expr, families, shown)
			expression := strings.NewReplacer("$job", "onceql", "$instance", ".*", "$__rate_interval", rateInterval).Replace(target.Expr)
			samples := p.query(expression)
			fmt.Fprintf(&table, "    %s\n", target.Expr)
			numbers := 0
			for _, sample := range samples {
				if v, err := strconv.ParseFloat(sample.value(), 64); err == nil && !math.IsNaN(v) {
					numbers++
					fmt.Fprintf(&table, "        %s\n", shorten(sample))
				}
			}
			if numbers == 0 {
				t.Errorf("%s: %s is nothing: %v", panel.Title, expression, samples)
			}
		}
	}
	for name := range families {
		if strings.HasPrefix(name, "onceql_") && !shown[name] {
			t.Errorf("the dashboard does not show %s", name)
		}
	}
	return table.Bytes()
}

// shorten writes a sample with four digits.
func shorten(s sample) string {
	if v, err := strconv.ParseFloat(s.value(), 64); err == nil {
		s.Value[1] = strconv.FormatFloat(v, 'g', 4, 64)
	}
	return s.String()
}

// checkNames checks that the server has what an expression names: the metrics, and series
// with the labels.
func checkNames(t testing.TB, where, expression string, families map[string]*dto.MetricFamily, seen map[string]bool) {
	t.Helper()
	names, matchers := selectors(expression)
	if len(names) == 0 {
		t.Errorf("%s names no metric: %s", where, expression)
	}
	for n, name := range names {
		if name == "up" { // Prometheus's own.
			continue
		}
		family := families[name]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if family == nil {
				family = families[strings.TrimSuffix(name, suffix)]
			}
		}
		if family == nil {
			t.Errorf("%s names %s, which the server does not have", where, name)
			continue
		}
		seen[family.GetName()] = true
		for i := 0; i < len(matchers[n]); i += 2 {
			label, pattern := matchers[n][i], matchers[n][i+1]
			if label == "job" || label == "instance" {
				continue
			}
			for _, value := range strings.Split(pattern, "|") {
				if !slices.ContainsFunc(family.GetMetric(), func(m *dto.Metric) bool {
					return slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return l.GetName() == label && l.GetValue() == value })
				}) {
					t.Errorf("%s: no series of %s has %s=%q", where, name, label, value)
				}
			}
		}
	}
}

// checkAlerts checks that each rule is evaluated and that nothing fires over a healthy
// server, and that docs/operations/metrics.md says what to do.
func checkAlerts(t testing.TB, p *prometheus, families map[string]*dto.MetricFamily) {
	t.Helper()
	manual, err := os.ReadFile("../docs/operations/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented, alerts []string
	for _, heading := range regexp.MustCompile(`(?m)^### (OnceQL\w+)$`).FindAllStringSubmatch(string(manual), -1) {
		documented = append(documented, heading[1])
	}
	eventually(t, "the rules to be evaluated", func() bool {
		return !slices.ContainsFunc(p.rules(), func(r rule) bool { return r.Health == "unknown" })
	})
	for _, rule := range p.rules() {
		alerts = append(alerts, rule.Name)
		if rule.Health != "ok" || rule.State == "firing" {
			t.Errorf("%s is %s and %s: %s", rule.Name, rule.Health, rule.State, rule.LastError)
		}
		if rule.Annotations["summary"] == "" || rule.Labels["severity"] == "" ||
			!strings.HasSuffix(rule.Annotations["runbook_url"], "/docs/operations/metrics.md#"+strings.ToLower(rule.Name)) {
			t.Errorf("%s lacks a summary, a severity or where it is explained: %v %v", rule.Name, rule.Annotations, rule.Labels)
		}
		checkNames(t, rule.Name, rule.Query, families, map[string]bool{})
	}
	if !slices.Equal(documented, alerts) {
		t.Errorf("docs/operations/metrics.md explains %v, and the alerts are %v", documented, alerts)
	}
}
