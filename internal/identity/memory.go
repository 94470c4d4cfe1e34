package identity

import (
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// A digest is a token's SHA-256. Who reads this server's memory can't send it.
type digest = [sha256.Size]byte

// generation bounds the tokens that are remembered: twice as many, of about 300 bytes.
const generation = 10_000

// A memory has what was verified, so that a token that comes again costs no signature. It
// keeps the last generation beside the one that grows: a token in use is forgotten by no
// flood of others, since each of those has to be verified first, and generation of them
// take longer than a token in use is away. It is safe for use by many goroutines.
type memory struct {
	mu            sync.Mutex
	current, last map[digest]verified
	generation    int
}

// A verified is a token that was accepted once, and the key that did so.
type verified struct {
	grant
	key *jose.JSONWebKey
}

func (m *memory) get(d digest) (verified, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v, ok := m.current[d]; ok {
		return v, true
	}
	v, ok := m.last[d]
	if ok {
		m.add(d, v)
	}
	return v, ok
}

func (m *memory) put(d digest, v verified) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.add(d, v)
}

func (m *memory) add(d digest, v verified) {
	if m.current == nil || len(m.current) >= m.generation {
		m.current, m.last = map[digest]verified{}, m.current
	}
	m.current[d] = v
}

func (m *memory) forget(d digest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.current, d)
	delete(m.last, d)
}

// remembered returns whom the token names, when it was verified before by a key that the
// issuer still has and is trusted for, and the token is good now. Any other is forgotten:
// judged as if it came for the first time it hears why it is refused.
func (v *Verifier) remembered(d digest, now time.Time) (Identity, bool) {
	known, ok := v.memory.get(d)
	if !ok {
		return Identity{}, false
	}
	if keys, _ := v.keys.trusted(); !slices.Contains(keys, known.key) || known.at(now) != nil {
		v.memory.forget(d)
		return Identity{}, false
	}
	return known.Identity, true
}
