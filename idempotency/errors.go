package idempotency

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// What Do and Operation.Do report. Compare with errors.Is. Nothing is stored
// unless the effect committed, so none of these consumes the key.
var (
	// ErrKeyRequired reports an empty key.
	ErrKeyRequired = errors.New("an idempotency key is required")
	// ErrKeyInvalid reports a key longer than 255 bytes, with bytes outside
	// printable ASCII, or with spaces at its ends.
	ErrKeyInvalid = errors.New("an idempotency key is 1 to 255 printable ASCII characters without spaces at its ends")
	// ErrKeyReused reports a key that came again with another payload or
	// another operation.
	ErrKeyReused = errors.New("the idempotency key was used with another payload or another operation")
	// ErrKeyExpired reports a key whose result is no longer replayed.
	ErrKeyExpired = errors.New("the idempotency key has expired")
	// ErrInProgress reports that the call was still executing when the wait
	// ended. Send the same key again.
	ErrInProgress = errors.New("a call with this idempotency key is still executing")
	// ErrUnavailable reports that the outcome could not be found out, mostly
	// because the database could not be reached. Send the same key again.
	ErrUnavailable = errors.New("the outcome is not known for now")
	// ErrOverloaded reports that the queue had no room; nothing was executed.
	// It is an ErrUnavailable too.
	ErrOverloaded = fmt.Errorf("%w: the queue is full", ErrUnavailable)
	// ErrClosed reports a call made after Close, or one that Close could not
	// wait for. It is an ErrUnavailable too.
	ErrClosed = fmt.Errorf("%w: the engine is closed", ErrUnavailable)
	// ErrPayload reports a value that can't be stored: it can't be encoded and
	// decoded, or is larger than MaxPayload. The effect was rolled back.
	ErrPayload = errors.New("the payload can't be stored")
	// ErrTransaction reports an effect that ended or broke its transaction and
	// returned no error, or tried to commit it. It was rolled back.
	ErrTransaction = errors.New("the transaction is the engine's to end")
	// ErrCall reports a Call that names no operation, has a scope that can't be
	// stored, or no fingerprint in the version that is written.
	ErrCall = errors.New("the call is not complete")
)

// PanicError reports an effect that panicked or called runtime.Goexit. It was
// rolled back.
type PanicError struct {
	// Value is what the effect panicked with; nil for runtime.Goexit.
	Value any
	// Stack is the goroutine's stack at the panic.
	Stack []byte
}

// Error names the kind of the panic and not its value, which may hold a payload.
func (e *PanicError) Error() string {
	if e.Value == nil {
		return "the effect ended its goroutine"
	}
	return fmt.Sprintf("the effect panicked with a %T", e.Value)
}

// A verdict says what an error of an attempt means for the call.
type verdict int

const (
	// definite: the effect's own refusal; it holds for every equal call.
	definite verdict = iota
	// again: this attempt lost out and left nothing behind; run it once more.
	again
	// unreachable: the database or the budget failed; whoever waits may try.
	unreachable
)

// SQLSTATEs and classes, https://www.postgresql.org/docs/current/errcodes-appendix.html.
func classify(ctx context.Context, err error) verdict {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		switch pgErr.Code {
		case "40001", // serialization_failure
			"40P01", // deadlock_detected
			"53200", // out_of_memory, which lock tables report too
			"53300", // too_many_connections
			"57P01", // admin_shutdown
			"57P02", // crash_shutdown
			"57P03", // cannot_connect_now
			"25006": // read_only_sql_transaction: a server that was demoted
			return again
		case "57014", // query_canceled, by statement_timeout
			"55P03", // lock_not_available, by lock_timeout
			"25P03", // idle_in_transaction_session_timeout
			"57P05": // idle_session_timeout
			return unreachable
		}
		switch pgErr.Code[:min(2, len(pgErr.Code))] {
		case "08", // connection exception
			"53", // insufficient resources
			"58": // system error
			return again
		}
		return definite
	}
	if ctx.Err() != nil {
		return unreachable
	}
	return definite
}
