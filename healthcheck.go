package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/onceql/onceql/internal/operator"
)

// healthTimeout is how long a server may take to say how it is. It reads no database for
// that, and what asks waits for seconds.
const healthTimeout = 3 * time.Second

// healthcheckCommand asks the server of the same environment how it is, for images that
// have no shell and no curl.
type healthcheckCommand struct {
	ListenAddr string `env:"LISTEN_ADDR" default:"127.0.0.1:8080" help:"Address that the server listens on (${default})."`
	Whether    string `arg:"" optional:"" enum:"ready,live" default:"ready" help:"What is asked: whether it is ready, which is /readyz (the default), or whether it is live, which is /healthz."`
}

// Run says nothing when the server is well, and why when it is not.
func (c *healthcheckCommand) Run(ctx context.Context) error {
	host, port, err := net.SplitHostPort(c.ListenAddr)
	if err != nil {
		return fmt.Errorf("LISTEN_ADDR: %w", err)
	}
	if port == "0" {
		return errors.New("LISTEN_ADDR has port 0, which is any: the server's can't be known")
	}
	path := map[string]string{"ready": "/readyz", "live": "/healthz"}[c.Whether]
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	// Every server answers to localhost, whatever ALLOWED_HOSTS says.
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return err
	}
	// No proxy of the environment's: it is this machine that is asked.
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialServer(ctx, host, port)
	}}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("%s was not answered: %w", path, err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		return fmt.Errorf("%s says %s: %s", path, operator.Line(response.Status), operator.Line(strings.TrimSpace(string(said))))
	}
	return nil
}

// dialServer connects to a server that listens on the host. One that listens on all
// addresses is on the loopback interface, of either kind of address.
func dialServer(ctx context.Context, host, port string) (net.Conn, error) {
	hosts := []string{host}
	if address, err := netip.ParseAddr(host); host == "" || err == nil && address.IsUnspecified() {
		hosts = []string{"127.0.0.1", "::1"}
	}
	var failed error
	for _, host := range hosts {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(host, port))
		if err == nil {
			return conn, nil
		}
		failed = errors.Join(failed, err)
	}
	return nil, failed
}
