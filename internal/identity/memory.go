package identity

import (
	"crypto/sha256"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// A digest is a token's SHA-256. Who reads this server's memory can't send it.
type digest = [sha256.Size]byte

// mostRemembered bounds the tokens that are remembered, a few hundred bytes each. One in
// use is forgotten by no flood of others: each of those has to be verified first, and so
// many of them take longer than a token in use is away.
const mostRemembered = 20_000

// A verified is a token that was accepted once, and the key that did so. It is remembered,
// so that a token that comes again costs no signature.
type verified struct {
	grant
	key *jose.JSONWebKey
}

// remembered returns whom the token names, when it was verified before by a key that the
// issuer still has and is trusted for, and the token is good now. Any other is forgotten:
// judged as if it came for the first time it hears why it is refused.
func (v *Verifier) remembered(d digest, now time.Time) (Identity, bool) {
	known, ok := v.memory.Get(d)
	if !ok {
		return Identity{}, false
	}
	if keys, _ := v.keys.trusted(); !slices.Contains(keys, known.key) || known.at(now) != nil {
		v.memory.Remove(d)
		return Identity{}, false
	}
	return known.Identity, true
}
