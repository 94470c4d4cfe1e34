package idempotency_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"
)

// A proxy stands between an engine and Postgres and knows their messages. While it
// is armed, the next COMMIT meets the fault.
//
// https://www.postgresql.org/docs/current/protocol-message-formats.html
type proxy struct {
	listener net.Listener

	mu     sync.Mutex
	target string
	fault  fault
	met    chan struct{}
	// at is how many round trips go well before a fault that is for any of them.
	at    int
	conns []net.Conn
	// over is closed when the test ends, release when the test lets a reply go.
	over, release chan struct{}
}

// A fault is what happens to one COMMIT, or to one round trip.
type fault int

const (
	none fault = iota
	// requestLost: the connection breaks before Postgres hears of the COMMIT.
	requestLost
	// requestLostUnnoticed: the same, but Postgres notices only a moment later, and
	// keeps the locks until then.
	requestLostUnnoticed
	// requestCut: the same as requestLost, after Postgres has got the statements before it.
	requestCut
	// replyLost: Postgres carries it out, and the connection breaks before its
	// reply arrives.
	replyLost
	// replyError: Postgres carries it out, and its reply becomes an error.
	replyError
	// replyRollback: the reply says ROLLBACK, though Postgres carried it out.
	replyRollback
	// requestStalled: nothing moves any more, before Postgres hears of the
	// COMMIT, and no connection ends.
	requestStalled
	// replyStalled: the same, after Postgres carried it out.
	replyStalled
	// replyHeld: the reply arrives once the test releases it.
	replyHeld
	// tripLost: the connection breaks before Postgres hears of the round trip.
	tripLost
	// tripReplyLost: Postgres carries the round trip out, and nothing of its reply
	// arrives.
	tripReplyLost
	// tripEndLost: only the end of its reply does not arrive.
	tripEndLost
)

var faults = map[string]fault{
	"the request is lost":     requestLost,
	"the request is cut":      requestCut,
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
	p := &proxy{listener: listener, target: parsed.Host, over: make(chan struct{}), release: make(chan struct{})}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			target := p.target
			p.mu.Unlock()
			server, err := net.Dial("tcp", target)
			if err != nil {
				_ = client.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, client, server)
			p.mu.Unlock()
			l := &link{proxy: p, client: client, server: server, ended: make(chan struct{})}
			serving.Go(l.requests)
			serving.Go(l.replies)
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		close(p.over)
		p.cut()
		serving.Wait()
	})
	parsed.Host = listener.Addr().String()
	return p, parsed.String()
}

// cut ends all connections, stalled ones too. Without it pgx waits fifteen seconds
// for the end of one that it gave up, and Close of its pool with it.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		_ = conn.Close()
	}
}

// lead makes new connections reach the database at another address.
func (p *proxy) lead(t testing.TB, address string) {
	t.Helper()
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = parsed.Host
}

// arm makes the next COMMIT meet the fault; the channel is closed when it does.
func (p *proxy) arm(fault fault) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.met = fault, make(chan struct{})
	return p.met
}

// armTrip makes a round trip meet the fault, once so many have gone well.
func (p *proxy) armTrip(fault fault, after int) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.met, p.at = fault, make(chan struct{}), after
	return p.met
}

// disarm lets everything pass again, and says whether the fault was still to come.
func (p *proxy) disarm() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	armed := p.fault != none
	p.fault = none
	return armed
}

// trip is called for each round trip, and returns the fault that it meets.
func (p *proxy) trip() fault {
	p.mu.Lock()
	p.at--
	due := p.at < 0
	p.mu.Unlock()
	if !due {
		return none
	}
	return p.take(tripLost, tripReplyLost, tripEndLost)
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
	// ended is closed when the server's side has ended.
	ended chan struct{}

	mu sync.Mutex
	// reply is the fault that the reply to the last request meets.
	reply fault
}

func (l *link) cut() {
	_ = l.client.Close()
	_ = l.server.Close()
}

// requests passes on what the client sends, batch by batch.
func (l *link) requests() {
	defer l.cut()
	if message, err := startup(l.client); err != nil || pass(l.server, message) != nil {
		return
	}
	commits := map[string]bool{} // Statements by name.
	// batch is what Postgres answers as a whole; commit says whether it commits.
	var batch []byte
	commit := false
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
			if commits[string(name)] {
				if l.proxy.take(requestCut) != none {
					_ = pass(l.server, batch)
					return
				}
				commit = true
			}
		case 'Q':
			commit = bytes.HasSuffix(message, []byte("commit\x00"))
		}
		batch = append(batch, message...)
		switch message[0] {
		case 'S', 'Q':
			if commit && l.lostOnTheWay() {
				return
			}
			fault := l.proxy.trip()
			if fault == tripLost {
				return
			}
			l.expect(fault)
		case 'H', 'X', 'p': // Flush, Terminate, a password.
		default:
			continue
		}
		if pass(l.server, batch) != nil {
			return
		}
		batch, commit = nil, false
	}
}

// lostOnTheWay says whether the client's COMMIT ends here.
func (l *link) lostOnTheWay() bool {
	switch l.proxy.take(requestLost, requestLostUnnoticed, requestStalled) {
	case requestLost:
		// The client hears of it once Postgres has, and has let the locks go: what
		// it does next does not depend on who was faster.
		_ = l.server.(*net.TCPConn).CloseWrite()
		<-l.ended
		return true
	case requestLostUnnoticed:
		_ = l.client.Close()
		select {
		case <-time.After(50 * time.Millisecond):
		case <-l.proxy.over:
		}
		return true
	case requestStalled:
		<-l.proxy.over
		return true
	}
	return false
}

// expect sets the fault that the next reply meets.
func (l *link) expect(fault fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reply = fault
}

func (l *link) expected() fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reply
}

// replies passes on what the server answers.
func (l *link) replies() {
	defer l.cut()
	defer close(l.ended)
	for {
		message, err := message(l.server)
		if err != nil {
			return
		}
		if fault := l.expected(); fault != none {
			// Postgres has carried all of it out once it is ready for more.
			if message[0] == 'Z' {
				return
			}
			if fault == tripReplyLost {
				continue
			}
		}
		if message[0] == 'C' && bytes.Equal(message[5:], []byte("COMMIT\x00")) {
			switch l.proxy.take(replyLost, replyStalled, replyHeld, replyError, replyRollback) {
			case replyLost:
				return
			case replyStalled:
				<-l.proxy.over
				return
			case replyHeld:
				select {
				case <-l.proxy.release:
				case <-l.proxy.over:
					return
				}
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
