package idempotency

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	crand "crypto/rand"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency/internal/schedule"
	"github.com/onceql/onceql/idempotency/internal/store"
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
	// TraceID and SpanID are kept with the result as RequestID is, so that a replay can
	// name the trace that executed, and the span in it: 32 and 16 hexadecimal digits in
	// lower case (https://www.w3.org/TR/trace-context/). Either may be empty; a SpanID
	// is one of a TraceID.
	TraceID, SpanID string
	// Fingerprint returns the payload's hash in a version of its canonical
	// form, and false for a version that it does not know. It is called with
	// Config.FingerprintVersion, and with the version of a row that is found.
	Fingerprint func(version int16) ([32]byte, bool)
	// Codec writes and reads the stored payload. Nil means encoding/json.
	Codec Codec
	// Limits are the operation's, for the function Do; zero fields are the engine's.
	// A Batch has its own.
	Limits Limits
	// Size is about how large the call's input is, in bytes: it bounds how much a batch
	// takes on. Zero means small.
	Size int
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
	// TraceID and SpanID are those of the call that executed; both may be empty.
	TraceID, SpanID string
}

// Do runs effect at most once for the call's scope and key, and returns its
// outcome to this call and to every later one with the same payload.
//
// The effect runs in a READ COMMITTED transaction that the engine commits
// together with the row that describes it. It may run more than once, as long as
// none of its transactions committed: everything it does must go through tx. It
// must not use tx after it returned, nor commit it or roll it back, nor change its
// session, nor make a call of its own. Its context has the values of ctx and the
// deadline of the operation's budget; ctx itself bounds only this caller's wait, and
// work once started finishes without it.
//
// An error that effect returns rolls back, is returned to every equal call that
// waits, and leaves the key unused. Time-outs of its locks and statements are
// ErrUnavailable. The other errors are the ones declared here, a *PanicError, and
// ctx's own.
func Do[T any](ctx context.Context, engine *Engine, call Call, effect func(context.Context, pgx.Tx) (T, error)) (Outcome[T], error) {
	if err := checkType[T](call.codec()); err != nil {
		return Outcome[T]{}, err
	}
	limits := call.Limits.or(engine.config.limits())
	if err := limits.validate(); err != nil {
		return Outcome[T]{}, fmt.Errorf("%w: %w", ErrCall, err)
	}
	found, err := engine.do(ctx, &request{
		call: call,
		operation: &operation{limits: limits, run: func(ctx context.Context, tx *store.EffectTx, _ []*item) ([]verdict, error) {
			value, err := effect(ctx, tx)
			if err != nil {
				return nil, err
			}
			response, decoded, err := encode(call.codec(), value)
			return []verdict{{state: succeeded, response: response, value: decoded}}, err
		}},
		values: context.WithoutCancel(ctx),
	})
	return outcome[T](call, found, err)
}

// A request is one caller's call.
type request struct {
	call Call
	// hash is the payload's fingerprint in the version that is written.
	hash      [32]byte
	operation *operation
	// input is what the caller gave to a batch.
	input any
	// values are those of the caller's context, which a single effect sees.
	values context.Context //nolint:containedctx // For its values alone.
	// followed is what the Tracer returned of the call.
	followed any
	// executionID tells this caller's own committed row from another's.
	executionID uuid.UUID
	// executed says that the observer was told so.
	executed atomic.Bool
	// How often an execution for this caller had no effect, lost its connection during the
	// effect, lost a race for the key's row, and ended with commitFailure, a COMMIT whose
	// outcome is unknown.
	undone, lost, races, commits int
	commitFailure                *store.Failure
	// refusals counts the COMMITs that Postgres answered with an error of its own.
	refusals int
	// peers is how many calls of its scope the batch had that the call has left.
	peers int
}

// A result is what a key did.
type result struct {
	store.Row
	// value is the payload decoded, where that is done already: for the caller that
	// executed, and no other.
	value    any
	replayed bool
}

// do waits for what the request's key did.
func (e *Engine) do(ctx context.Context, r *request) (result, error) {
	if err := nested(ctx); err != nil {
		return result{}, err
	}
	if err := r.call.validate(); err != nil {
		return result{}, err
	}
	if err := ctx.Err(); err != nil {
		return result{}, err
	}
	var known bool
	if r.hash, known = r.call.Fingerprint(e.config.FingerprintVersion); !known {
		return result{}, fmt.Errorf("%w: its fingerprint has no version %d", ErrCall, e.config.FingerprintVersion)
	}
	r.executionID = e.random.id()
	if e.config.Tracer != nil {
		r.followed = e.config.Tracer.Follow(ctx)
	}
	id := schedule.ID{Scope: r.call.Scope, Key: r.call.Key}
	found, err := e.schedule.Do(ctx, id, r.operation.batch, r.call.Size, r.operation.limits.Wait, r)
	if err != nil {
		return result{}, waited(err)
	}
	if found.ExecutionID == r.executionID {
		e.executed(r)
		return found, nil
	}
	found.value, found.replayed = nil, true
	// Here, and not by the worker: what the call's own code does is its caller's.
	err = e.checkReplay(r, &found.Row)
	event := Event{Kind: Replayed, ExecutedBy: found.RequestID}
	if err != nil {
		event = Event{Kind: Refused, Err: err}
	}
	e.observe(event, r)
	return found, err
}

// Refuses says whether a new call of the scope would be refused with ErrOverloaded
// now, because the queue is full and the scope has its fair share of it.
func (e *Engine) Refuses(scope string) bool { return e.schedule.Refuses(scope) }

// checkReplay compares the request with what its key did.
func (e *Engine) checkReplay(r *request, row *store.Row) error {
	return r.call.checkReplay(row, func(version int16) ([32]byte, bool) {
		if version == e.config.FingerprintVersion {
			return r.hash, true
		}
		return r.call.Fingerprint(version)
	})
}

// checkReplay compares the call, by its fingerprint in the row's version, with what its key
// did.
func (c Call) checkReplay(row *store.Row, fingerprint func(version int16) ([32]byte, bool)) error {
	if row.Operation != c.Operation {
		return ErrKeyReused
	}
	switch hash, known := fingerprint(row.HashVersion); {
	case !known:
		return fmt.Errorf("%w: its payload was hashed in version %d, which this build does not know", ErrUnavailable, row.HashVersion)
	case string(hash[:]) != string(row.Hash):
		return ErrKeyReused
	case row.Expired:
		return ErrKeyExpired
	}
	return nil
}

// outcome decodes what the key of a call did.
func outcome[T any](call Call, found result, err error) (Outcome[T], error) {
	if err != nil {
		return Outcome[T]{}, err
	}
	value, decoded := found.value.(T)
	if !decoded {
		if value, err = decode[T](call.codec(), found.Response); err != nil {
			return Outcome[T]{}, fmt.Errorf("%w: reading the stored payload: %w", ErrUnavailable, err)
		}
	}
	traceID, spanID := ofTrace(found.Trace)
	return Outcome[T]{
		Value:      value,
		Replayed:   found.replayed,
		ExecutedAt: found.CreatedAt,
		ExpiresAt:  found.ExpiresAt,
		RequestID:  found.RequestID,
		TraceID:    traceID,
		SpanID:     spanID,
	}, nil
}

func (c Call) codec() Codec {
	if c.Codec == nil {
		return jsonCodec{}
	}
	return c.Codec
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
	case !hexadecimal(c.TraceID, 32), !hexadecimal(c.SpanID, 16), c.TraceID == "" && c.SpanID != "":
		return fmt.Errorf("%w: the ids of its trace are not 32 and 16 hexadecimal digits in lower case", ErrCall)
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

// random is the one place where ids and randomness come from.
type random struct {
	mu     sync.Mutex
	source rand.Source
}

func newRandom(source rand.Source) *random {
	if source == nil {
		var seed [32]byte
		_, _ = crand.Read(seed[:]) // It never fails.
		source = rand.NewChaCha8(seed)
	}
	return &random{source: source}
}

// id returns a UUID of version 4 (RFC 9562, section 5.4).
func (r *random) id() (id uuid.UUID) {
	r.mu.Lock()
	binary.BigEndian.PutUint64(id[:8], r.source.Uint64())
	binary.BigEndian.PutUint64(id[8:], r.source.Uint64())
	r.mu.Unlock()
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

// jitter returns a duration between half of d and d, so that retries of several
// processes do not fall on the same moments.
func (r *random) jitter(d time.Duration) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return d/2 + time.Duration(rand.New(r.source).Int64N(int64(d/2)+1))
}
