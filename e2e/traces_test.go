package e2e_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/internal/pgtest"
)

const field = "createProject"

// wantSteps checks that the trace has each step, as a part of the one before the colon.
func wantSteps(t testing.TB, c *collector, trace string, steps ...string) {
	t.Helper()
	for _, step := range steps {
		parent, name, _ := strings.Cut(step, ": ")
		eventually(t, "the span "+step, func() bool {
			spans := c.of(trace)
			for _, s := range spans[name] {
				for _, p := range spans[parent] {
					if s.parent == p.id && s.start >= p.start && s.end >= s.start {
						return true
					}
				}
			}
			return false
		})
	}
}

func TestTraces_OfAnExecutionAndItsReplay(t *testing.T) {
	t.Parallel()
	c, url := newCollector(t), pgtest.URL(t)
	s, d := serve(t, url, c.env("LOG_FORMAT=json")...), connect(t, url)
	wantStatus(t, s.send(create("the key", "Apollo"), "X-Request-Id", "first"), "EXECUTED")
	wantStatus(t, s.send(create("the key", "Apollo"), "X-Request-Id", "second"), "REPLAYED")
	wantCode(t, s.send(create("the key", "Gemini"), "X-Request-Id", "third"), "IDEMPOTENCY_KEY_REUSED")

	executed := c.find(1, field, "onceql.outcome", "executed")[0]
	replayed := c.find(1, field, "onceql.outcome", "replayed")[0]
	reused := c.find(1, field, "onceql.outcome", "reused")[0]
	wantSteps(t, c, executed.trace,
		"POST /graphql: "+field, field+": wait", field+": execute "+field, "execute "+field+": claim", "claim: BATCH",
		"execute "+field+": effect", "effect: INSERT", "execute "+field+": commit", "commit: BATCH")
	wantSteps(t, c, replayed.trace, "POST /graphql: "+field, field+": execute "+field, "execute "+field+": claim")
	if steps := c.of(replayed.trace); len(steps["effect"])+len(steps["commit"]) > 0 {
		t.Errorf("the replay has an effect: %+v", steps)
	}
	if want := []link{{executed.trace, executed.id, "execution"}}; len(replayed.links) != 1 || replayed.links[0] != want[0] {
		t.Errorf("the replay's links are %+v, want %+v", replayed.links, want)
	}
	hash := idempotency.KeyHash("anonymous", "the key")
	if n := d.count(`select count(*) from idempotency_keys where trace_id = $1`, executed.trace+"-"+executed.id); n != 1 {
		t.Error("the row does not have the trace that executed")
	}
	for _, got := range []span{executed, replayed, reused} {
		if got.attributes["onceql.key_hash"] == "" || got.attributes["onceql.key_hash"] != executed.attributes["onceql.key_hash"] ||
			got.attributes["onceql.operation"] != field || (got.attributes["onceql.replayed"] == "true") != (got.id == replayed.id) {
			t.Errorf("%+v; the key's hash is %s", got, hash)
		}
	}
	if replayed.attributes["onceql.executed_by"] != "first" {
		t.Errorf("the replay's span names the request %q", replayed.attributes["onceql.executed_by"])
	}
	requests := c.of(replayed.trace)["POST /graphql"]
	if len(requests) != 1 || requests[0].parent != "" || requests[0].attributes["http.response.status_code"] != "200" || requests[0].attributes["onceql.request_id"] != "second" {
		t.Errorf("the requests of the replay's trace: %+v", requests)
	}
	lines := callLines(t, s)
	for i, want := range []callLine{
		{Outcome: "executed", RequestID: "first", TraceID: executed.trace},
		{Outcome: "replayed", RequestID: "second", TraceID: replayed.trace, ExecutedBy: "first", ExecutedByTrace: executed.trace},
		{Outcome: "reused", RequestID: "third", TraceID: reused.trace},
	} {
		want.Level, want.Operation, want.KeyHash = "INFO", field, executed.attributes["onceql.key_hash"]
		got := lines[i]
		if got.Duration <= 0 {
			t.Errorf("it took %d ns: %+v", got.Duration, got)
		}
		if got.Duration = 0; got != want {
			t.Errorf("line %d is %+v, want %+v", i, got, want)
		}
	}
	if c.service != "onceql" || c.path != "/v1/traces" || c.headers.Get("Content-Type") != "application/x-protobuf" {
		t.Errorf("service %q, path %q, %v", c.service, c.path, c.headers)
	}
}

// A batch is a trace of its own, which the calls that it serves lead to, and it to them.
func TestTraces_OfABatch(t *testing.T) {
	t.Parallel()
	c, url := newCollector(t), pgtest.URL(t)
	s := serve(t, url, c.env()...)
	for round := 0; round < 100 && !strings.Contains(c.told(), "execute batch of "); round++ { // Calls that arrive together mostly make one.
		for _, a := range sendBurst(t, 32, []*server{s}, func(i int) request { return create(fmt.Sprint(round, " ", i), "Apollo") }) {
			wantStatus(t, a, "EXECUTED")
		}
	}
	for _, batch := range c.find(1, "execute batch of "+field, "", "") {
		if batch.parent != "" || batch.attributes["onceql.calls"] != fmt.Sprint(len(batch.links)) || len(batch.links) < 2 {
			t.Errorf("%+v", batch)
		}
		wantSteps(t, c, batch.trace, batch.name+": claim", batch.name+": effect", "effect: INSERT", batch.name+": commit", "commit: BATCH")
		for _, to := range batch.links {
			eventually(t, "a call that leads to its batch", func() bool {
				return slices.ContainsFunc(c.of(to.trace)[field], func(call span) bool {
					return to.what == "call" && call.id == to.id && slices.Contains(call.links, link{batch.trace, batch.id, "batch"})
				})
			})
		}
	}
}

// The standard's variables are heeded: nothing is exported unless they say where to.
func TestTraces_AreOffUnlessToldWhereTo(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		env    []string
		logged string
	}{
		"no endpoint":       {nil, ""},
		"exporter none":     {[]string{"OTEL_TRACES_EXPORTER=none"}, ""},
		"SDK disabled":      {[]string{"OTEL_SDK_DISABLED=true"}, ""},
		"sampler off":       {[]string{"OTEL_TRACES_SAMPLER=always_off"}, ""},
		"another exporter":  {[]string{"OTEL_TRACES_EXPORTER=zipkin"}, "OTEL_TRACES_EXPORTER"},
		"another protocol":  {[]string{"OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}, "http/protobuf"},
		"no URL":            {[]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=collector:4317/secret-path"}, "OTEL_EXPORTER_OTLP_ENDPOINT"},
		"headers of no use": {[]string{"OTEL_EXPORTER_OTLP_HEADERS=secret-header"}, "OTEL_EXPORTER_OTLP_HEADERS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, url := newCollector(t), pgtest.URL(t)
			env := append(c.env(), test.env...)
			if name == "no endpoint" {
				env = nil
			}
			s, d := serve(t, url, env...), connect(t, url)
			wantStatus(t, s.send(create("k", "Apollo"), "traceparent", "00-"+strings.Repeat("a", 32)+"-"+strings.Repeat("b", 16)+"-01"), "EXECUTED")
			s.terminate()
			if code := s.wait(); code != 0 {
				t.Errorf("it ends with %d", code)
			}
			if got := c.all(); len(got) > 0 {
				t.Errorf("exported: %+v", got)
			}
			log := s.stderr.String()
			if test.logged != "" && (strings.Count(log, "traces are not exported") != 1 || !strings.Contains(log, test.logged)) {
				t.Errorf("the log says nothing of %s:\n%s", test.logged, log)
			}
			if strings.Contains(log, "secret") || strings.Contains(log, "traceId") {
				t.Errorf("the log tells too much:\n%s", log)
			}
			if n := d.count(`select count(*) from idempotency_keys where trace_id is null`); n != 1 {
				t.Error("the row names a trace that nobody has")
			}
		})
	}
}

// Strangers decide neither what is sampled nor whose trace theirs is.
func TestTraces_StrangersDecideNothing(t *testing.T) {
	t.Parallel()
	trace, parent := strings.Repeat("a", 31)+"1", strings.Repeat("b", 16)
	sampled := []string{"traceparent", "00-" + trace + "-" + parent + "-01", "tracestate", "vendor=secret", "baggage", "userId=secret"}
	never := []string{"OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=0"}

	t.Run("not trusted", func(t *testing.T) {
		t.Parallel()
		c, none, url := newCollector(t), newCollector(t), pgtest.URL(t)
		s, sampler := serve(t, url, c.env()...), serve(t, url, none.env(never...)...)
		for i, header := range [][]string{
			{"traceparent", "00-" + trace + "-" + parent + "-00"},
			{"traceparent", "ff-" + trace + "-" + parent + "-01"},
			{"traceparent", "00-" + strings.Repeat("0", 32) + "-" + parent + "-01"},
			{"traceparent", strings.Repeat("a", 8000)},
			{"tracestate", strings.Repeat("a=b,", 2000)},
			{"baggage", strings.Repeat("a=b,", 2000)},
			{"traceparent", "%00"},
			sampled,
		} {
			wantStatus(t, s.send(create(fmt.Sprint("sampled ", i), "Apollo"), header...), "EXECUTED")
			wantStatus(t, sampler.send(create(fmt.Sprint("not sampled ", i), "Apollo"), header...), "EXECUTED")
		}
		links := 0
		for _, request := range c.find(8, "POST /graphql", "", "") {
			if request.trace == trace || request.parent != "" {
				t.Errorf("a stranger's trace goes on: %+v", request)
			}
			for _, to := range request.links {
				links++
				if to != (link{trace, parent, "sender"}) {
					t.Errorf("a link %+v", to)
				}
			}
		}
		sampler.terminate()
		sampler.wait()
		if links != 2 || len(none.all()) > 0 || strings.Contains(c.told(), "secret") {
			t.Errorf("%d links to the sender, want 2; sampled for a stranger: %+v\n%s", links, none.all(), c.told())
		}
	})
	t.Run("trusted", func(t *testing.T) {
		t.Parallel()
		c, url := newCollector(t), pgtest.URL(t)
		s, d := serve(t, url, c.env(append(never, "TRUST_TRACEPARENT=true")...)...), connect(t, url)
		wantStatus(t, s.send(create("unsampled", "Apollo"), "traceparent", "00-"+trace+"-"+parent+"-00"), "EXECUTED")
		wantStatus(t, s.send(create("malformed", "Apollo"), "traceparent", "00-"+trace+"-01"), "EXECUTED")
		wantStatus(t, s.send(create("sampled", "Apollo"), sampled...), "EXECUTED")
		got := c.find(1, "POST /graphql", "", "")
		if len(got) != 1 || got[0].trace != trace || got[0].parent != parent || len(got[0].links) > 0 {
			t.Errorf("%+v", got)
		}
		if n := d.count(`select count(*) from idempotency_keys where (key = 'sampled') = (trace_id is not null and trace_id like $1)`, trace+"-%"); n != 3 {
			t.Errorf("%d rows have the trace that they should have, want 3", n)
		}
	})
}

// What is recorded is exported at the end, and an exporter that is away or silent is no
// reason to be slow, to wait, or to say so twice.
func TestTraces_AtTheEnd(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	c := newCollector(t)
	for name, test := range map[string]struct {
		env     []string
		dropped bool
	}{
		"flushed": {c.env("OTEL_BSP_SCHEDULE_DELAY=600000", "OTEL_EXPORTER_OTLP_COMPRESSION=gzip", "OTEL_EXPORTER_OTLP_HEADERS=X-Secret=a%20b", "OTEL_SERVICE_NAME=projects"), false},
		"away":    {[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://user:secret@127.0.0.1:1", "OTEL_BSP_SCHEDULE_DELAY=1", "OTEL_EXPORTER_OTLP_TIMEOUT=1"}, true},
		"silent":  {[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + silent.Addr().String(), "OTEL_BSP_SCHEDULE_DELAY=1", "OTEL_BSP_MAX_QUEUE_SIZE=8", "OTEL_EXPORTER_OTLP_TIMEOUT=600000"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, pgtest.URL(t), test.env...)
			for i := range 50 {
				wantStatus(t, s.send(create(fmt.Sprint(i), "Apollo")), "EXECUTED")
			}
			s.terminate()
			if code := s.wait(); code != 0 {
				t.Errorf("it ends with %d:\n%s", code, s.stderr)
			}
			if !test.dropped {
				if n := len(c.find(50, "POST /graphql", "", "")); n != 50 || c.headers.Get("X-Secret") != "a b" || c.service != "projects" {
					t.Errorf("%d requests, service %q, %v", n, c.service, c.headers)
				}
				return
			}
			if n := strings.Count(s.stderr.String(), "traces can't be exported"); n != 1 || strings.Contains(s.stderr.String(), "secret") {
				t.Errorf("the log says it %d times:\n%s", n, s.stderr)
			}
		})
	}
}
