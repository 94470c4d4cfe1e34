package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"
)

// serveGood is a good tenant of a server that answers in this way.
func serveGood(t *testing.T, handle http.HandlerFunc) *good {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return &good{address: address.Host, path: "/graphql"}
}

func TestGood_CountsWhatIsNoSuccess(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"busy": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "try again", http.StatusServiceUnavailable)
		},
		"an error": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"errors":[],"status":"EXECUTED"}`))
		},
		"a replay": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"status":"REPLAYED"}`)) },
		"cut":      func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		s := serveGood(t, answer).run(after(100 * time.Millisecond))
		if s.refused == 0 || s.refused > len(s.latencies) || s.example == "" {
			t.Errorf("%s: %d of %d refused, %q", name, s.refused, len(s.latencies), s.example)
		}
	}
	s := serveGood(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"status":"EXECUTED"}`)) }).run(after(100 * time.Millisecond))
	if s.refused != 0 || len(s.latencies) == 0 {
		t.Errorf("a success: %d of %d refused", s.refused, len(s.latencies))
	}
}

// A server that stands still delays all whose time has come, not only those that wait.
func TestGood_LatenciesCountFromWhenARequestIsDue(t *testing.T) {
	t.Parallel()
	const still = 500 * time.Millisecond
	over := make(chan struct{})
	g := serveGood(t, func(w http.ResponseWriter, _ *http.Request) {
		<-over
		_, _ = w.Write([]byte(`{"status":"EXECUTED"}`))
	})
	time.AfterFunc(still, func() { close(over) })
	s := g.run(over)
	if due := int(still.Seconds() * perSecond); len(s.latencies) < due {
		t.Errorf("%d requests, want the %d that were due", len(s.latencies), due)
	}
	if s.refused != 0 {
		t.Errorf("%d refused", s.refused)
	}
}
