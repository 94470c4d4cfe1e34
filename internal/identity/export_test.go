package identity

import (
	"crypto/sha256"
	"time"
)

// Exported to the tests.
const MostRemembered = mostRemembered

// Remembers says whether the verifier would let the token through without verifying it.
func (v *Verifier) Remembers(token string) bool {
	_, ok := v.remembered(sha256.Sum256([]byte(token)), time.Now())
	return ok
}

// Remembered is how many tokens are remembered.
func (v *Verifier) Remembered() int { return v.memory.Len() }

// Remember bounds them.
func (v *Verifier) Remember(most int) { v.memory.Resize(most) }
