package telemetry

import (
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// requests counts HTTP requests. Its labels are classes that are known beforehand: a path
// and a method are texts of the client's.
type requests struct {
	total    *prometheus.CounterVec
	inFlight prometheus.Gauge
	paths    map[string]*path
}

// A path counts the requests to the paths of a class.
type path struct {
	class    string
	duration prometheus.Observer
	bytes    prometheus.Counter
	// answered has the counters of the requests by their method and how they ended.
	answered [len(methods)][len(statuses)]prometheus.Counter
}

// The classes of paths besides those in exactPaths.
const (
	playground = "playground"
	otherPath  = "other"
)

var exactPaths = map[string]string{
	"/graphql": "graphql", "/": playground, "/schema.graphql": "schema", "/healthz": "healthz", "/readyz": "readyz",
}

// The classes of methods and of statuses; the last are for all others. A request whose
// answer was cut off, or never begun, is aborted.
var (
	methods  = [...]string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodOptions, "other"}
	statuses = [...]string{"aborted", "1xx", "2xx", "3xx", "4xx", "5xx"}
)

func newRequests(registry *prometheus.Registry) *requests {
	r := &requests{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "onceql_http_requests_total",
			Help: "HTTP requests that were answered, by class of path, method and class of status.",
		}, []string{"path", "method", "status"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "onceql_http_requests_in_flight",
			Help: "HTTP requests that are not answered yet.",
		}),
		paths: map[string]*path{},
	}
	duration := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "onceql_http_request_duration_seconds",
		Help:    "How long HTTP requests took, from their head to the end of their answer, by class of path.",
		Buckets: durations,
	}, []string{"path"})
	bytes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "onceql_http_response_bytes_total",
		Help: "Bytes of the bodies of answers, by class of path.",
	}, []string{"path"})
	registry.MustRegister(r.total, r.inFlight, duration, bytes)
	for _, class := range []string{"graphql", playground, "schema", "healthz", "readyz", otherPath} {
		p := &path{class: class, duration: duration.WithLabelValues(class), bytes: bytes.WithLabelValues(class)}
		for m, method := range methods {
			for s, status := range statuses {
				p.answered[m][s] = r.total.WithLabelValues(class, method, status)
			}
		}
		r.paths[class] = p
	}
	return r
}

// of returns the class of a path.
func (r *requests) of(urlPath string) *path {
	class, exact := exactPaths[urlPath]
	switch {
	case exact:
	case strings.HasPrefix(urlPath, "/playground/"):
		class = playground
	default:
		class = otherPath
	}
	return r.paths[class]
}

func methodIndex(method string) int {
	for i, known := range methods[:len(methods)-1] {
		if method == known {
			return i
		}
	}
	return len(methods) - 1
}

// CountRequests counts what next serves.
func (t *Telemetry) CountRequests(next http.Handler) http.Handler {
	r := t.requests
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		begun := time.Now()
		p, method := r.of(request.URL.Path), methodIndex(request.Method)
		answer := &answer{ResponseWriter: w}
		r.inFlight.Inc()
		returned := false
		defer func() {
			r.inFlight.Dec()
			status := 0 // A handler that panics has its answer cut off.
			if returned {
				status = answer.class()
			}
			p.answered[method][status].Inc()
			p.bytes.Add(float64(answer.bytes))
			p.duration.Observe(time.Since(begun).Seconds())
		}()
		next.ServeHTTP(answer, request)
		returned = true
	})
}

// An answer knows its status and the length of its body.
type answer struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// WriteHeader implements http.ResponseWriter. Statuses of 1xx but 101 announce another.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	n, err := a.ResponseWriter.Write(b)
	a.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// class is the index of the status in statuses. Without one net/http says 200.
func (a *answer) class() int {
	if a.status == 0 {
		return http.StatusOK / 100
	}
	return min(a.status/100, len(statuses)-1)
}
