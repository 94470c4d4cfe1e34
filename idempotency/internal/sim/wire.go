package sim

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// A link is a connection between a client and a node. Whatever is written to it arrives
// later; nothing waits for the other end to read.
type link struct {
	c      *Cluster
	node   *node
	client string
	name   string
	draws  *Stream
	// session is the node's end.
	session *session
	// up is what the client sends, and down what the node does.
	up, down stream
	// cut is how many bytes of the node's next write still pass before the connection is
	// cut; less than zero means all.
	cut int
	// late is how much longer the next message takes.
	late time.Duration
}

func newLink(c *Cluster, n *node, client, name string) *link {
	l := &link{c: c, node: n, client: client, name: name, draws: c.Stream(name), cut: -1}
	l.up.init(c)
	l.down.init(c)
	return l
}

// delay draws how long a message takes.
func (l *link) delay() time.Duration {
	late := l.late
	l.late = 0
	return late + l.c.config.Delay/20 + l.draws.Below(l.c.config.Delay)
}

// sever ends the link, for both ends. What is on its way does not arrive.
func (l *link) sever(err error) {
	l.up.sever(err, l.delay())
	l.down.sever(err, l.delay())
}

// A stream is one direction of a link.
type stream struct {
	c      *Cluster
	cond   sync.Cond
	timer  *time.Timer
	chunks []chunk
	// last is when the last chunk arrives. Nothing arrives before frozen.
	last, frozen time.Duration
	// silent streams swallow what is written.
	silent bool
	// closed says that the reader has closed its end; err is what it reads, from the
	// time end on, when there are no chunks.
	closed bool
	// interrupted tells a reader whether something else is to be done.
	interrupted func() bool

	err      error
	end      time.Duration
	deadline time.Time
}

type chunk struct {
	at   time.Duration
	data []byte
}

func (s *stream) init(c *Cluster) { s.c, s.cond.L = c, &c.mu }

// wake makes the reader look again, at once or after a while.
func (s *stream) wake(after time.Duration) {
	switch {
	case after <= 0:
		s.cond.Broadcast()
	case s.timer == nil:
		s.timer = time.AfterFunc(after, func() {
			s.c.mu.Lock()
			defer s.c.mu.Unlock()
			s.cond.Broadcast()
		})
	default:
		s.timer.Reset(after)
	}
}

// read returns what has arrived. The caller holds the mutex.
func (s *stream) read(p []byte) (int, error) {
	for {
		now, next := s.c.now(), time.Duration(0)
		if s.closed {
			return 0, net.ErrClosed
		}
		if s.interrupted != nil && s.interrupted() {
			return 0, errInterrupted
		}
		if !s.deadline.IsZero() {
			if next = time.Until(s.deadline); next <= 0 {
				return 0, os.ErrDeadlineExceeded
			}
		}
		if len(s.chunks) > 0 {
			first := &s.chunks[0]
			if at := max(first.at, s.frozen); at > now {
				next = earlier(next, at-now)
			} else {
				n := copy(p, first.data)
				if first.data = first.data[n:]; len(first.data) == 0 {
					s.chunks = s.chunks[1:]
				}
				return n, nil
			}
		} else if s.err != nil {
			if s.end <= now {
				return 0, s.err
			}
			next = earlier(next, s.end-now)
		}
		if next > 0 {
			s.wake(next)
		}
		s.cond.Wait()
	}
}

func earlier(a, b time.Duration) time.Duration {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// write sends the data, which arrives after the delay, and behind what was sent before.
func (s *stream) write(data []byte, delay time.Duration) {
	if s.silent || s.closed || s.err != nil || len(data) == 0 {
		return
	}
	s.chunks = append(s.chunks, chunk{s.arrival(delay), append([]byte(nil), data...)})
	s.cond.Broadcast()
}

func (s *stream) arrival(delay time.Duration) time.Duration {
	now := s.c.now()
	s.last = now + s.c.instant(max(delay, s.last-now, s.frozen-now))
	return s.last
}

// finish lets the reader see the end of the stream behind what was sent.
func (s *stream) finish(err error, delay time.Duration) {
	if s.err == nil && !s.silent {
		s.err, s.end = err, s.arrival(delay)
		s.cond.Broadcast()
	}
}

// sever ends the stream, without what is on its way. The ends of several links don't see
// it at one instant.
func (s *stream) sever(err error, delay time.Duration) {
	if s.err == nil || len(s.chunks) > 0 {
		s.chunks, s.err = nil, err
		s.end = s.c.now() + s.c.instant(delay)
		s.cond.Broadcast()
	}
}

// A conn is one end of a link.
type conn struct {
	*link
	in, out *stream
	server  bool
	addr    address
	// until is the deadline of writes.
	until time.Time
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	c.c.mu.Lock()
	defer c.c.mu.Unlock()
	n, err := c.in.read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // It is read's own.
		err = &net.OpError{Op: "read", Net: "tcp", Addr: c.addr, Err: err}
	}
	return n, err
}

// Write implements net.Conn. It never waits.
func (c *conn) Write(p []byte) (int, error) {
	c.c.mu.Lock()
	defer c.c.mu.Unlock()
	err := c.write(p)
	if err != nil {
		return 0, &net.OpError{Op: "write", Net: "tcp", Addr: c.addr, Err: err}
	}
	return len(p), nil
}

func (c *conn) write(p []byte) error {
	switch {
	case c.in.closed:
		return net.ErrClosed
	case !c.until.IsZero() && !time.Now().Before(c.until):
		return os.ErrDeadlineExceeded
	case errors.Is(c.in.err, syscall.ECONNRESET) && c.in.end <= c.c.now():
		return syscall.EPIPE
	}
	if !c.server {
		if err := c.step(StepRequest); err != nil {
			return err
		}
	}
	if n := c.cut; n >= 0 && n < len(p) {
		// The part that passes arrives, and then the connection's end.
		c.cut = -1
		delay := c.delay()
		c.out.write(p[:n], delay)
		c.out.finish(io.EOF, delay)
		c.in.sever(syscall.ECONNRESET, delay)
		return nil
	}
	c.out.write(p, c.delay())
	return nil
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.c.mu.Lock()
	defer c.c.mu.Unlock()
	if !c.in.closed {
		c.in.closed = true
		c.in.chunks = nil
		c.in.cond.Broadcast()
		c.out.finish(io.EOF, c.delay())
	}
	return nil
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return address(c.name) }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.addr }

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.c.mu.Lock()
	defer c.c.mu.Unlock()
	c.in.deadline = t
	c.in.cond.Broadcast()
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.c.mu.Lock()
	defer c.c.mu.Unlock()
	c.until = t
	return nil
}

// An address is the name of a host with its port.
type address string

// Network implements net.Addr.
func (address) Network() string { return "tcp" }

// String implements net.Addr.
func (a address) String() string { return string(a) }
