package identity

import (
	"crypto/sha256"
	"time"
)

// Exported to the tests.
const Generation = generation

// Remembers says whether the verifier would let the token through without verifying it.
func (v *Verifier) Remembers(token string) bool {
	_, ok := v.remembered(sha256.Sum256([]byte(token)), time.Now())
	return ok
}

// Remembered is how many tokens are remembered, some of them perhaps twice.
func (v *Verifier) Remembered() int {
	v.memory.mu.Lock()
	defer v.memory.mu.Unlock()
	return len(v.memory.current) + len(v.memory.last)
}

// Remember makes generations of that size.
func (v *Verifier) Remember(generation int) { v.memory.generation = generation }
