package e2e_test

import (
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	pb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// A collector takes traces, as one of OpenTelemetry's does.
type collector struct {
	t   testing.TB
	url string

	mu sync.Mutex
	// text is all that came, as JSON, and headers are those that it came with.
	text    strings.Builder
	headers http.Header
	path    string
	service string
	spans   []span
}

// A span is one that came.
type span struct {
	name, trace, id, parent string
	attributes              map[string]string
	links                   []link
	failed                  bool
	start, end              uint64
}

// A link leads from one span to another.
type link struct{ trace, id, what string }

func newCollector(t testing.TB) *collector {
	t.Helper()
	c := &collector{t: t}
	server := httptest.NewServer(http.HandlerFunc(c.take))
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

// env has a server send all its traces here, soon, with more where it is said.
func (c *collector) env(more ...string) []string {
	return append([]string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.url, "OTEL_BSP_SCHEDULE_DELAY=20"}, more...)
}

func (c *collector) take(_ http.ResponseWriter, r *http.Request) {
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(r.Body)
		if err != nil {
			c.t.Error(err)
			return
		}
		body = unzipped
	}
	bytes, err := io.ReadAll(body)
	if err != nil {
		return // The server was killed.
	}
	var data pb.TracesData
	if err := proto.Unmarshal(bytes, &data); err != nil {
		c.t.Errorf("no traces: %v", err)
	}
	text, err := protojson.Marshal(&data)
	if err != nil {
		c.t.Error(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = c.text.Write(text)
	c.headers, c.path = r.Header, r.URL.Path
	for _, resource := range data.GetResourceSpans() {
		for _, attribute := range resource.GetResource().GetAttributes() {
			if attribute.GetKey() == "service.name" {
				c.service = attribute.GetValue().GetStringValue()
			}
		}
		for _, scope := range resource.GetScopeSpans() {
			for _, one := range scope.GetSpans() {
				c.spans = append(c.spans, taken(one))
			}
		}
	}
}

func taken(one *pb.Span) span {
	s := span{
		name: one.GetName(), trace: hex.EncodeToString(one.GetTraceId()), id: hex.EncodeToString(one.GetSpanId()),
		parent: hex.EncodeToString(one.GetParentSpanId()), failed: one.GetStatus().GetCode() == pb.Status_STATUS_CODE_ERROR,
		start: one.GetStartTimeUnixNano(), end: one.GetEndTimeUnixNano(), attributes: map[string]string{},
	}
	for _, attribute := range one.GetAttributes() {
		text, _ := protojson.Marshal(attribute.GetValue())
		var value map[string]any
		_ = json.Unmarshal(text, &value)
		for _, v := range value {
			s.attributes[attribute.GetKey()], _ = v.(string)
			if truth, boolean := v.(bool); boolean && truth {
				s.attributes[attribute.GetKey()] = "true"
			}
		}
	}
	for _, l := range one.GetLinks() {
		to := link{trace: hex.EncodeToString(l.GetTraceId()), id: hex.EncodeToString(l.GetSpanId())}
		for _, attribute := range l.GetAttributes() {
			to.what = attribute.GetValue().GetStringValue()
		}
		s.links = append(s.links, to)
	}
	return s
}

// all are the spans that came.
func (c *collector) all() []span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// told is all that came, as text.
func (c *collector) told() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

// find returns the spans with the name and the attribute, once there are so many.
func (c *collector) find(n int, name, attribute, value string) (found []span) {
	c.t.Helper()
	eventually(c.t, "spans "+name, func() bool {
		found = nil
		for _, s := range c.all() {
			if s.name == name && (attribute == "" || s.attributes[attribute] == value) {
				found = append(found, s)
			}
		}
		return len(found) >= n
	})
	return found
}

// of returns the spans of a trace by their names, those of one name in the order in which
// they began.
func (c *collector) of(trace string) map[string][]span {
	byName := map[string][]span{}
	for _, s := range c.all() {
		if s.trace == trace {
			byName[s.name] = append(byName[s.name], s)
		}
	}
	for _, spans := range byName {
		slices.SortFunc(spans, func(a, b span) int { return int(int64(a.start - b.start)) })
	}
	return byName
}
