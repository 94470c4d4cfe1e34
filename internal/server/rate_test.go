package server_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onceql/onceql/internal/quota"
	"github.com/onceql/onceql/internal/server"
	"github.com/onceql/onceql/internal/telemetry"
)

// An oneConn is a listener of one connection.
type oneConn chan net.Conn

func (l oneConn) Accept() (net.Conn, error) {
	if conn, ok := <-l; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}
func (l oneConn) Close() error   { return nil }
func (l oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// held has the server hold a refusal of the request, and gives its connection and what
// drains the server to the test. No time passes.
func held(t *testing.T, request string, test func(r *quota.Rate, requests *server.Requests, client net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		requests, r := server.NewRequests(), quota.NewRate(0.01, 1)
		r.Wait("")
		handler := server.Rate(r, requests.Draining(), telemetry.New("", slog.New(slog.DiscardHandler)).Refusals, http.NotFoundHandler())
		client, conn := net.Pipe()
		listener := make(oneConn, 1)
		listener <- conn
		web := &http.Server{Handler: requests.Count(handler)}
		go func() { _ = web.Serve(listener) }()
		began := time.Now()
		if _, err := io.WriteString(client, request); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := r.Held(); n != 1 {
			t.Errorf("%d are held, want the request", n)
		}
		test(r, requests, client)
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %s", took)
		}
		_ = client.Close()
		close(listener)
		synctest.Wait()
	})
}

const post = "POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000\r\n\r\n%020000d"

func TestRate_NoLongerHoldsTheRefusalOfAClientThatIsGone(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{
		"a query":    "GET /graphql HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"a mutation": fmt.Sprintf(post, 0),
	} {
		t.Run(name, func(t *testing.T) {
			held(t, request, func(r *quota.Rate, _ *server.Requests, client net.Conn) {
				_ = client.Close()
				synctest.Wait()
				if n := r.Held(); n != 0 {
					t.Errorf("%d are held", n)
				}
			})
		})
	}
}

func TestRate_NoLongerHoldsRefusalsWhenTheServerDrains(t *testing.T) {
	t.Parallel()
	held(t, fmt.Sprintf(post, 0), func(_ *quota.Rate, requests *server.Requests, client net.Conn) {
		requests.Drain()
		answer, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusTooManyRequests || answer.Header.Get("Retry-After") != "100" {
			t.Errorf("%s, Retry-After %q", answer.Status, answer.Header.Get("Retry-After"))
		}
	})
}
