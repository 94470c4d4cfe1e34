package proxy

import (
	"encoding/binary"
	"time"
)

// commitPatience is how long a server lets a COMMIT take at least, before it has
// PostgreSQL cancel it: less than its IDEMPOTENCY_BUDGET, because it may have been frozen
// for a part of that. A COMMIT that is cancelled while it waits for a standby is there, and
// a failover may lose it.
const commitPatience = time.Second

// cancelCode stands where other connections name the protocol's version.
const cancelCode = 80877102

// cancels returns the key of the connection that the start of another one is to cancel.
func cancels(startup []byte) (key [8]byte, yes bool) {
	if len(startup) != 16 || binary.BigEndian.Uint32(startup[4:]) != cancelCode {
		return key, false
	}
	return [8]byte(startup[8:]), true
}

// CommitsCancelled is how many COMMITs the server cancelled sooner than it may.
func (p *Proxy) CommitsCancelled() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cancelled
}

// cancel notes that the connection with the key is to be cancelled.
func (p *Proxy) cancel(key [8]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.links[key]
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.committing.IsZero() && time.Since(l.committing) < commitPatience {
		p.cancelled++
	}
}

// keep lets the link be cancelled by the key.
func (p *Proxy) keep(key [8]byte, l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.key = key
	p.links[key] = l
}

// leave ends that.
func (p *Proxy) leave(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.links[l.key] == l {
		delete(p.links, l.key)
	}
}
