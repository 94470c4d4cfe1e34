package idempotency

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// KeyHash names a scope's key where the key itself must not stand, such as in a log: the
// first 16 hexadecimal digits of the SHA-256 over the length of the scope in bytes, as eight
// bytes with the highest first, the scope, and the key. It keeps nobody from trying keys that
// can be guessed.
func KeyHash(scope, key string) string {
	text := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(scope)+len(key)), uint64(len(scope)))
	sum := sha256.Sum256(append(append(text, scope...), key...))
	return hex.EncodeToString(sum[:8])
}
