// Package proxy stands between a server and PostgreSQL, knows their messages, and does
// something to the next one that matters.
//
// https://www.postgresql.org/docs/current/protocol-message-formats.html
package proxy

import (
	"fmt"
	"net"
	"slices"
	"sync"
)

// A Step is a moment in the life of an execution.
type Step int

const (
	// ClaimAnswer: PostgreSQL has claimed keys and looked for them; the server has not
	// heard of it.
	ClaimAnswer Step = iota
	// Commit: the server has sent the keys and COMMIT; PostgreSQL has not got them.
	Commit
	// CommitAnswer: PostgreSQL has committed; the server has not heard of it.
	CommitAnswer
)

// Steps are all of them.
var Steps = []Step{ClaimAnswer, Commit, CommitAnswer}

func (s Step) String() string {
	return [...]string{"before the claim's answer", "before COMMIT", "after COMMIT, before its answer"}[s]
}

// A Deed is what is done to the message at a step. It may wait, and says how much of the
// message goes on. Unless all of it does, the connection ends there.
type Deed func(message []byte) (pass int)

// Whole is the Deed that does something and lets the message go on.
func Whole(something func()) Deed {
	return func(message []byte) int {
		something()
		return len(message)
	}
}

// A Proxy is the way of one server to PostgreSQL.
type Proxy struct {
	mu    sync.Mutex
	armed []*Armed
	// links are the connections that can be cancelled, by the key that PostgreSQL gave
	// them.
	links map[[8]byte]*link
	// cancelled counts the COMMITs that were cancelled too soon.
	cancelled int
}

// Armed is a Deed that waits for its message.
type Armed struct {
	// Met is closed once it has been done.
	Met   chan struct{}
	proxy *Proxy
	step  Step
	do    Deed
}

// New returns a proxy without a listener.
func New() *Proxy { return &Proxy{links: make(map[[8]byte]*link)} }

// Listen leads connections to the port on to the other one.
func (p *Proxy) Listen(port, to int) error {
	listener, err := net.Listen("tcp", address(port))
	if err != nil {
		return err
	}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go p.serve(client, to)
		}
	}()
	return nil
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

func (p *Proxy) serve(client net.Conn, to int) {
	server, err := net.Dial("tcp", address(to))
	if err != nil {
		// As near as it gets to the refusal that the proxy met.
		_ = client.(*net.TCPConn).SetLinger(0) //nolint:errcheck // A listener on TCP accepts nothing else.
		_ = client.Close()
		return
	}
	l := &link{proxy: p, client: client, server: server}
	go l.replies()
	l.requests()
}

// Next has the next message at the step meet the deed.
func (p *Proxy) Next(step Step, do Deed) *Armed {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := &Armed{Met: make(chan struct{}), proxy: p, step: step, do: do}
	p.armed = append(p.armed, a)
	return a
}

// Forget forgets the deed, and says whether it was still to come. One that has begun is
// done all the same.
func (a *Armed) Forget() bool {
	a.proxy.mu.Lock()
	defer a.proxy.mu.Unlock()
	i := slices.Index(a.proxy.armed, a)
	if i < 0 {
		return false
	}
	a.proxy.armed = slices.Delete(a.proxy.armed, i, i+1)
	return true
}

// take returns the first deed at the step, if there is one.
func (p *Proxy) take(step Step) *Armed {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, a := range p.armed {
		if a.step == step {
			p.armed = slices.Delete(p.armed, i, i+1)
			return a
		}
	}
	return nil
}

// meet does the deed at the step, if there is one, after before, and says how much of
// the message goes on.
func (p *Proxy) meet(step Step, message []byte, before func()) (pass int) {
	a := p.take(step)
	if a == nil {
		return len(message)
	}
	defer close(a.Met)
	before()
	return a.do(message)
}
