package idempotency_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
)

// A proxy stands between an engine and Postgres and knows their messages. While it
// is armed, the next COMMIT meets the fault.
//
// https://www.postgresql.org/docs/current/protocol-message-formats.html
type proxy struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	fault fault
	met   chan struct{}
	conns []net.Conn
}

// A fault is what happens to one COMMIT.
type fault int

const (
	none fault = iota
	// requestLost: the connection breaks before Postgres hears of the COMMIT.
	requestLost
	// replyLost: Postgres carries it out, and the connection breaks before its
	// reply arrives.
	replyLost
	// replyError: Postgres carries it out, and its reply becomes an error.
	replyError
	// replyRollback: the reply says ROLLBACK, though Postgres carried it out.
	replyRollback
)

var faults = map[string]fault{
	"the request is lost":     requestLost,
	"the reply is lost":       replyLost,
	"the reply is an error":   replyError,
	"the reply says ROLLBACK": replyRollback,
}

// newProxy returns a proxy to the database at address, and the address through it.
func newProxy(t testing.TB, address string) (*proxy, string) {
	t.Helper()
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, target: parsed.Host}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", p.target)
			if err != nil {
				_ = client.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, client, server)
			p.mu.Unlock()
			l := &link{proxy: p, client: client, server: server}
			serving.Go(l.requests)
			serving.Go(l.replies)
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		p.mu.Lock()
		for _, conn := range p.conns {
			_ = conn.Close()
		}
		p.mu.Unlock()
		serving.Wait()
	})
	parsed.Host = listener.Addr().String()
	return p, parsed.String()
}

// arm makes the next COMMIT meet the fault; the channel is closed when it does.
func (p *proxy) arm(fault fault) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.met = fault, make(chan struct{})
	return p.met
}

// take returns the fault that the proxy is armed with, if it is one of those, and
// disarms it.
func (p *proxy) take(these ...fault) fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, fault := range these {
		if p.fault == fault {
			p.fault = none
			close(p.met)
			return fault
		}
	}
	return none
}

// A link is one connection through the proxy.
type link struct {
	proxy          *proxy
	client, server net.Conn
}

func (l *link) cut() {
	_ = l.client.Close()
	_ = l.server.Close()
}

// requests passes on what the client sends. A COMMIT to be lost ends the connection
// before Postgres has a Sync to act upon.
func (l *link) requests() {
	defer l.cut()
	if message, err := startup(l.client); err != nil || pass(l.server, message) != nil {
		return
	}
	commits := map[string]bool{} // Statements by name.
	for {
		message, err := message(l.client)
		if err != nil {
			return
		}
		switch message[0] {
		case 'P':
			name, rest, _ := bytes.Cut(message[5:], []byte{0})
			text, _, _ := bytes.Cut(rest, []byte{0})
			commits[string(name)] = string(text) == "commit"
		case 'B':
			_, rest, _ := bytes.Cut(message[5:], []byte{0})
			name, _, _ := bytes.Cut(rest, []byte{0})
			if commits[string(name)] && l.proxy.take(requestLost) != none {
				return
			}
		}
		if pass(l.server, message) != nil {
			return
		}
	}
}

// replies passes on what the server answers.
func (l *link) replies() {
	defer l.cut()
	for {
		message, err := message(l.server)
		if err != nil {
			return
		}
		if message[0] == 'C' && bytes.Equal(message[5:], []byte("COMMIT\x00")) {
			switch l.proxy.take(replyLost, replyError, replyRollback) {
			case replyLost:
				return
			case replyError:
				message = frame('E', "SERROR\x00VERROR\x00CXX000\x00Msome node failed\x00\x00")
			case replyRollback:
				message = frame('C', "ROLLBACK\x00")
			}
		}
		if pass(l.client, message) != nil {
			return
		}
	}
}

func startup(r io.Reader) ([]byte, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(head)-4)
	_, err := io.ReadFull(r, body)
	return append(head, body...), err
}

func message(r io.Reader) ([]byte, error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
	_, err := io.ReadFull(r, body)
	return append(head, body...), err
}

func frame(kind byte, body string) []byte {
	message := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4))
	return append(message, body...)
}

func pass(w io.Writer, message []byte) error {
	_, err := w.Write(message)
	return err
}
