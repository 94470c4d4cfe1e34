package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A prometheus is a real one, which scrapes a server and evaluates the rules of
// deploy/prometheus.
type prometheus struct {
	t   testing.TB
	url string
	log *output
}

// startPrometheus starts one with the configuration that is in deploy/prometheus, but for
// the address of the server and how often it is scraped.
func startPrometheus(t testing.TB, s *server) *prometheus {
	t.Helper()
	eventually(t, "the server to say where its metrics are", func() bool { return s.metricsURL() != "" })
	dir := t.TempDir()
	target := strings.TrimSuffix(strings.TrimPrefix(s.metricsURL(), "http://"), "/metrics")
	for name, replaced := range map[string][]string{
		"prometheus.yml": {"127.0.0.1:9090", target, "interval: 15s", "interval: 500ms"},
		"alerts.yml":     nil,
	} {
		text, err := os.ReadFile(filepath.Join("../deploy/prometheus", name))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(replaced); i += 2 {
			if !strings.Contains(string(text), replaced[i]) {
				t.Fatalf("%s has no %q", name, replaced[i])
			}
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.NewReplacer(replaced...).Replace(string(text))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := &prometheus{t: t, log: &output{}}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "prometheus",
		"--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0")
	cmd.Stderr = p.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	listening := regexp.MustCompile(`msg="Listening on" address=(\S+)`)
	eventually(t, "Prometheus to say where it is", func() bool {
		select {
		case <-ended:
			t.Fatalf("Prometheus ended:\n%s", p.log)
		default:
		}
		found := listening.FindStringSubmatch(p.log.String())
		if found != nil {
			p.url = "http://" + found[1]
		}
		return found != nil
	})
	return p
}

// A sample is a series of a result, and its value as Prometheus writes it.
type sample struct {
	Metric map[string]string
	Value  [2]any
}

func (s sample) value() string {
	text, _ := s.Value[1].(string)
	return text
}

// query returns what the expression is now.
func (p *prometheus) query(expression string) []sample {
	p.t.Helper()
	var data struct{ Result []sample }
	p.get("/api/v1/query?query="+url.QueryEscape(expression), expression, &data)
	return data.Result
}

// A rule is an alert as Prometheus has understood it.
type rule struct {
	Name, Query, State, Health, LastError string
	Annotations, Labels                   map[string]string
}

func (p *prometheus) rules() []rule {
	p.t.Helper()
	var data struct{ Groups []struct{ Rules []rule } }
	p.get("/api/v1/rules", "the rules", &data)
	var rules []rule
	for _, group := range data.Groups {
		rules = append(rules, group.Rules...)
	}
	return rules
}

func (p *prometheus) get(path, what string, data any) {
	p.t.Helper()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	_, body := fetch(p.t, p.url+path)
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		p.t.Fatalf("%s: %v: %s", what, err, body)
	}
	if answer.Status != "success" {
		p.t.Fatalf("%s: %s", what, answer.Error)
	}
	if err := json.Unmarshal(answer.Data, data); err != nil {
		p.t.Fatalf("%s: %v: %s", what, err, body)
	}
}

// A panel is one of the dashboard with its queries.
type panel struct {
	Title, Description, Type string
	Targets                  []struct{ Expr, LegendFormat string }
}

// dashboard are the panels of deploy/grafana, without the rows.
func dashboard(t testing.TB) []panel {
	t.Helper()
	text, err := os.ReadFile("../deploy/grafana/onceql.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct{ Panels []panel }
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	var panels []panel
	for _, p := range board.Panels {
		if p.Type != "row" {
			panels = append(panels, p)
		}
	}
	return panels
}

// selectors are the metrics that an expression names, with their matchers.
func selectors(expression string) (names []string, matchers [][]string) {
	quoted := regexp.MustCompile(`"[^"]*"`)
	bare := quoted.ReplaceAllStringFunc(expression, func(text string) string { return strings.Repeat("_", len(text)) })
	for _, at := range regexp.MustCompile(`\b(?:onceql|go|process)_\w+|\bup\b`).FindAllStringIndex(bare, -1) {
		names = append(names, expression[at[0]:at[1]])
		rest := expression[at[1]:]
		var of []string
		if strings.HasPrefix(rest, "{") {
			inside, _, _ := strings.Cut(rest[1:], "}")
			for _, match := range regexp.MustCompile(`(\w+)\s*(=~|=)\s*"([^"]*)"`).FindAllStringSubmatch(inside, -1) {
				of = append(of, match[1], match[3])
			}
		}
		matchers = append(matchers, of)
	}
	return names, matchers
}

func (s sample) String() string {
	var labels []string
	for _, name := range []string{"outcome", "operation", "reason", "kind", "line", "pool", "state", "path", "status", "result"} {
		if value := s.Metric[name]; value != "" {
			labels = append(labels, value)
		}
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s", strings.Join(labels, " "), s.value()))
}
