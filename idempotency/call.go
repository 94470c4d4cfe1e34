package idempotency

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
)

// MaxKeyLength is the length of the longest key, in bytes.
const MaxKeyLength = 255

// MaxScopeLength is the length of the longest scope, in bytes.
const MaxScopeLength = 255

// A Call is one request to run an operation at most once.
type Call struct {
	// Scope is whose key it is, mostly a tenant; keys of different scopes never
	// meet. It may be empty. At most MaxScopeLength bytes of UTF-8 without NUL.
	Scope string
	// Key is the caller's idempotency key, 1 to MaxKeyLength bytes.
	Key string
	// Operation names what is run; a key belongs to one operation.
	Operation string
	// RequestID is kept with the result, so that a replay can name the request
	// that executed. It may be empty.
	RequestID string
	// Fingerprint returns the payload's hash in a version of its canonical
	// form, and false for a version that it does not know. It is called with
	// Config.FingerprintVersion, and with the version of a row that is found.
	Fingerprint func(version int16) ([32]byte, bool)
	// Codec writes and reads the stored payload. Nil means encoding/json.
	Codec Codec
}

// An Outcome is the answer to a Call.
type Outcome[T any] struct {
	// Value is decoded from the stored payload, the first time too.
	Value T
	// Replayed is false for the one call that executed.
	Replayed bool
	// ExecutedAt and ExpiresAt are times of the database's clock: when the
	// effect ran, and until when its result is replayed.
	ExecutedAt, ExpiresAt time.Time
	// RequestID is that of the request that executed.
	RequestID string
}

// Do runs effect at most once for the call's scope and key, and returns its
// outcome to this call and to every later one with the same payload.
//
// The effect runs in a READ COMMITTED transaction that the engine commits
// together with the row that describes it. It may run more than once, as long as
// none of its transactions committed: everything it does must go through tx. It
// must not use tx after it returned, nor commit it or roll it back. Its context
// has the values of ctx and the deadline of Config.Budget; ctx itself bounds
// only this caller's wait, and work once started finishes without it.
//
// An error that effect returns rolls back, is returned to every equal call that
// waits, and leaves the key unused. The other errors are the ones declared
// here, a *PanicError, and ctx's own.
func Do[T any](ctx context.Context, engine *Engine, call Call, effect func(context.Context, pgx.Tx) (T, error)) (Outcome[T], error) {
	found, err := engine.do(ctx, call, &lone[T]{context.WithoutCancel(ctx), effect}, nil)
	return outcome[T](call, found, err)
}

func (c Call) codec() Codec {
	if c.Codec == nil {
		return jsonCodec{}
	}
	return c.Codec
}

// An identity is what makes two calls the same.
type identity struct{ scope, key string }

func (i identity) compare(other identity) int {
	return cmp.Or(strings.Compare(i.scope, other.scope), strings.Compare(i.key, other.key))
}

// The lock's namespace keeps these locks apart from an importer's own.
const lockNamespace = "onceql idempotency 1"

// lock is the id of the advisory lock that saves work on the identity: 8 bytes
// of a SHA-256, so that nobody can craft a collision that makes others wait.
func (i identity) lock() int64 {
	text := make([]byte, 0, len(lockNamespace)+len(i.scope)+len(i.key)+12)
	for _, part := range [...]string{lockNamespace, i.scope, i.key} {
		text = binary.BigEndian.AppendUint32(text, uint32(len(part)))
		text = append(text, part...)
	}
	sum := sha256.Sum256(text)
	return int64(binary.BigEndian.Uint64(sum[:8]))
}

func (c Call) validate() error {
	if err := ValidateKey(c.Key); err != nil {
		return err
	}
	switch {
	case c.Operation == "" || !storable(c.Operation):
		return fmt.Errorf("%w: it names no operation", ErrCall)
	case len(c.Scope) > MaxScopeLength || !storable(c.Scope):
		return fmt.Errorf("%w: its scope is longer than %d bytes or not UTF-8 text", ErrCall, MaxScopeLength)
	case !storable(c.RequestID):
		return fmt.Errorf("%w: its request id is not UTF-8 text", ErrCall)
	case c.Fingerprint == nil:
		return fmt.Errorf("%w: it has no fingerprint", ErrCall)
	}
	return nil
}

// ValidateKey returns ErrKeyRequired for an empty key, ErrKeyInvalid for one
// that is not 1 to 255 printable ASCII characters without spaces at its ends,
// and nil for any other.
func ValidateKey(key string) error {
	switch {
	case key == "":
		return ErrKeyRequired
	case len(key) > MaxKeyLength, key[0] == ' ', key[len(key)-1] == ' ':
		return ErrKeyInvalid
	}
	for i := range len(key) {
		if key[i] < ' ' || key[i] > '~' {
			return ErrKeyInvalid
		}
	}
	return nil
}

// storable says whether Postgres takes the text as it is.
func storable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsRune(text, 0)
}
