package db_test

import (
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// A way leads to a server through the network, which may fail.
type way struct {
	listener net.Listener
	// old is of the connections that there are, and all of later ones too.
	old, all atomic.Bool
}

// forward returns a way to the host.
func forward(t testing.TB, host string) *way {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &way{listener: listener}
	t.Cleanup(w.refuse)
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
			t.Cleanup(func() { _, _ = client.Close(), server.Close() })
			later := w.old.Load()
			silent := func() bool { return w.all.Load() || !later && w.old.Load() }
			go carry(client, server, silent)
			go carry(server, client, silent)
		}
	}()
	return w
}

// carry writes what it reads, but while silent.
func carry(from, to net.Conn, silent func() bool) {
	buffer := make([]byte, 4096)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			_ = to.Close()
			return
		}
		if silent() {
			continue
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// silence has the connections that there are carry nothing more.
func (w *way) silence() { w.old.Store(true) }

// silenceAll has no connection carry anything, not a new one either.
func (w *way) silenceAll() { w.all.Store(true) }

// refuse has no new connection be taken.
func (w *way) refuse() { _ = w.listener.Close() }

// through is the address of the server with the ways in place of its host.
func through(t testing.TB, address string, ways ...*way) string {
	t.Helper()
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	hosts := make([]string, 0, len(ways))
	for _, w := range ways {
		hosts = append(hosts, w.listener.Addr().String())
	}
	return strings.Replace(address, parsed.Host, strings.Join(hosts, ","), 1)
}

func hostOf(t testing.TB, address string) string {
	t.Helper()
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Host
}

// refusing is a host that refuses connections.
func refusing(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
