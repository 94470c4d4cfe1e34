package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// maxScrapes is how many requests for one path are answered at once; others get 503.
const maxScrapes = 4

// ValidateAddress refuses an address that can't be listened on, or that the API listens
// on. "" is none.
func ValidateAddress(address, api string) error {
	if address == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("METRICS_ADDR: %w", err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return fmt.Errorf("METRICS_ADDR: %q is not the number of a port", port)
	}
	if strings.ContainsAny(host, " /") {
		return fmt.Errorf("METRICS_ADDR: %q is not a host", host)
	}
	apiHost, apiPort, _ := net.SplitHostPort(api)
	apiNumber, err := strconv.ParseUint(apiPort, 10, 16)
	if err == nil && number != 0 && number == apiNumber && overlap(host, apiHost) {
		return fmt.Errorf("METRICS_ADDR %s is where LISTEN_ADDR %s serves the API: /metrics needs a port of its own", address, api)
	}
	return nil
}

// overlap says whether who listens at one host listens at the other too.
func overlap(a, b string) bool {
	if strings.EqualFold(a, b) || everywhere(a) || everywhere(b) {
		return true
	}
	return local(a) && local(b)
}

func everywhere(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}

// local says whether localhost may be the host.
func local(host string) bool {
	ip, _ := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || ip.Unmap() == netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// Listen begins to listen for scrapes. It returns nil where the address is "".
func Listen(ctx context.Context, address string) (net.Listener, error) {
	if address == "" {
		return nil, nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("METRICS_ADDR: %w", err)
	}
	return listener, nil
}

// Handler answers GET /metrics, and GET /tenants where the calls of tenants are counted.
func (t *Telemetry) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(t.Registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(t.log.Handler(), slog.LevelWarn),
		MaxRequestsInFlight: maxScrapes,
	}))
	if t.tenants != nil {
		mux.Handle("GET /tenants", atMost(maxScrapes, t.tenants))
	}
	return mux
}

// atMost refuses requests while n others are answered. An answer stays in memory until its
// reader has it.
func atMost(n int, next http.Handler) http.Handler {
	places := make(chan struct{}, n)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
			next.ServeHTTP(w, r)
		default:
			http.Error(w, "too many others are answered", http.StatusServiceUnavailable)
		}
	})
}

// Serve answers scrapes until the listener is closed, by a handler that leads to Handler.
func (t *Telemetry) Serve(listener net.Listener, handler http.Handler) {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(t.log.Handler(), slog.LevelWarn),
	}
	if err := server.Serve(listener); !errors.Is(err, net.ErrClosed) {
		t.log.Error("/metrics is no longer served", "err", err)
	}
}
