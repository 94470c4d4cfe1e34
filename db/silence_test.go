package db_test

import (
	"context"
	"log/slog"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onceql/onceql/internal/pgtest"
)

// An idle connection that the network forgot costs a caller a moment, not its budget.
func TestOpen_LeavesAConnectionThatFellSilent(t *testing.T) {
	t.Parallel()
	address, err := url.Parse(pgtest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	var silent atomic.Bool
	address.Host = forward(t, address.Host, &silent)
	pool := open(t, address.String(), 2, slog.New(slog.DiscardHandler))
	if err := pool.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	silent.Store(true)
	time.Sleep(1100 * time.Millisecond) // pgx trusts what was used within the last second.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := pool.Ping(ctx); err != nil {
		t.Error(err)
	}
}

// forward listens for connections to the host, and returns where. Once silent is set, the
// ones that are there carry nothing more.
func forward(t *testing.T, host string, silent *atomic.Bool) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", host)
			if err != nil {
				_ = client.Close()
				continue
			}
			old := !silent.Load()
			t.Cleanup(func() { _, _ = client.Close(), server.Close() })
			for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
				go func() {
					buffer := make([]byte, 4096)
					for {
						n, err := pair[0].Read(buffer)
						if err != nil {
							_ = pair[1].Close()
							return
						}
						if old && silent.Load() {
							continue
						}
						if _, err := pair[1].Write(buffer[:n]); err != nil {
							return
						}
					}
				}()
			}
		}
	}()
	return listener.Addr().String()
}
