package proxy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"
)

// A link is one connection through the proxy.
type link struct {
	proxy          *Proxy
	client, server net.Conn
	// key cancels what the connection does. It is the proxy's to guard.
	key [8]byte

	mu sync.Mutex
	// committing is since when a COMMIT is under way; zero for none.
	committing time.Time
	// pending are the requests that PostgreSQL has not answered, oldest first.
	pending []request
}

// A request is what PostgreSQL answers as a whole, up to its ReadyForQuery.
type request struct{ claims, commits bool }

// of is what a statement is for.
func of(text []byte) request {
	return request{
		claims:  bytes.Contains(text, []byte("pg_try_advisory_xact_lock(")),
		commits: bytes.EqualFold(text, []byte("commit")),
	}
}

func (r request) and(other request) request {
	return request{r.claims || other.claims, r.commits || other.commits}
}

func (l *link) cut() {
	l.proxy.leave(l) // A client that loses its connection cancels too.
	_ = l.client.Close()
	_ = l.server.Close()
}

// requests passes on what the client sends, request by request.
func (l *link) requests() {
	defer l.cut()
	from := bufio.NewReaderSize(l.client, 32<<10)
	start, err := startup(from)
	if err != nil {
		return
	}
	if key, yes := cancels(start); yes {
		l.proxy.cancel(key)
	}
	if write(l.server, start) != nil {
		return
	}
	statements := map[string]request{} // Prepared ones, by name.
	var whole []byte
	var now request
	for {
		message, err := read(from)
		if err != nil {
			return
		}
		whole = append(whole, message...)
		switch message[0] {
		case 'P':
			name, rest, _ := bytes.Cut(message[5:], []byte{0})
			text, _, _ := bytes.Cut(rest, []byte{0})
			statements[string(name)] = of(text)
		case 'B':
			_, rest, _ := bytes.Cut(message[5:], []byte{0})
			name, _, _ := bytes.Cut(rest, []byte{0})
			now = now.and(statements[string(name)])
		case 'Q':
			now = of(bytes.TrimRight(message[5:], "\x00;"))
			now.commits = now.commits || bytes.HasSuffix(message, []byte("commit\x00"))
		}
		switch message[0] {
		case 'S', 'Q':
		case 'H', 'X', 'p': // Flush, Terminate, a password: not answered as a whole.
			if write(l.server, whole) != nil {
				return
			}
			whole = whole[:0]
			continue
		default:
			continue
		}
		pass := len(whole)
		if now.commits {
			l.commit(time.Now())
			pass = l.proxy.meet(Commit, whole, func() {})
		}
		l.expect(now)
		if write(l.server, whole[:pass]) != nil || pass < len(whole) {
			return
		}
		whole, now = whole[:0], request{}
	}
}

// commit says since when a COMMIT is under way.
func (l *link) commit(since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.committing = since
}

func (l *link) expect(r request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = append(l.pending, r)
}

// answered is the request that is being answered.
func (l *link) answered() request {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending) == 0 {
		return request{}
	}
	return l.pending[0]
}

// end ends the answer, and is nothing where none was asked for, as after the start.
func (l *link) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending) > 0 {
		l.pending = l.pending[1:]
	}
}

// replies passes on what PostgreSQL answers.
func (l *link) replies() {
	defer l.cut()
	from, to := bufio.NewReaderSize(l.server, 32<<10), bufio.NewWriterSize(l.client, 32<<10)
	begun := false // The answer that is being passed on.
	for {
		// What comes next may take long.
		if from.Buffered() == 0 && to.Flush() != nil {
			return
		}
		message, err := read(from)
		if err != nil {
			return
		}
		if message[0] == 'E' || message[0] == 'C' && bytes.Equal(message[5:], []byte("COMMIT\x00")) {
			l.commit(time.Time{})
		}
		pass := len(message)
		switch {
		case !begun && l.answered().claims:
			pass = l.meet(ClaimAnswer, message, to)
		case message[0] == 'C' && bytes.Equal(message[5:], []byte("COMMIT\x00")):
			pass = l.meet(CommitAnswer, message, to)
		}
		if _, err := to.Write(message[:pass]); err != nil {
			return
		}
		if pass < len(message) {
			_ = to.Flush()
			return
		}
		begun = true
		switch message[0] {
		case 'K':
			if len(message) == 13 {
				l.proxy.keep([8]byte(message[5:]), l)
			}
		case 'Z':
			begun = false
			l.end()
		}
	}
}

// meet does the deed at the step, once everything before has gone on.
func (l *link) meet(step Step, message []byte, to *bufio.Writer) (pass int) {
	return l.proxy.meet(step, message, func() { _ = to.Flush() })
}

func startup(r io.Reader) ([]byte, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	return body(r, head, binary.BigEndian.Uint32(head))
}

func read(r io.Reader) ([]byte, error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	return body(r, head, binary.BigEndian.Uint32(head[1:]))
}

// body reads the rest of a message whose length counts itself.
func body(r io.Reader, head []byte, length uint32) ([]byte, error) {
	message := make([]byte, len(head)+int(length)-4)
	copy(message, head)
	_, err := io.ReadFull(r, message[len(head):])
	return message, err
}

func write(w io.Writer, message []byte) error {
	_, err := w.Write(message)
	return err
}
