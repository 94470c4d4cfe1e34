package idempotency

import (
	"errors"
	"fmt"

	"github.com/onceql/onceql/idempotency/internal/schedule"
	"github.com/onceql/onceql/idempotency/internal/store"
)

// What Do and Batch.Do report. Compare with errors.Is. Nothing is stored
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
	// ErrInProgress reports that the call was executing, or still waiting for its
	// turn, when the wait ended. Send the same key again.
	ErrInProgress = errors.New("a call with this idempotency key is still executing")
	// ErrUnavailable reports that the outcome could not be found out, mostly
	// because the database could not be reached, or that the effect ran into a
	// time-out. Send the same key again.
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
	// ErrTransaction reports an effect that broke the rules of its transaction: it
	// tried to end it, went on after an error in it, left a result open, or changed
	// settings that can't be put back. It was rolled back. Changes of the session are
	// forbidden as well. The engine sees a changed role, row_security or search_path at
	// the connection's next use and closes the connection; other session settings and
	// session-level advisory locks are not seen.
	ErrTransaction = store.ErrTransaction
	// ErrNoResult reports an item of a batch for which the effect called none of
	// Succeed, Fail and Decline. Nothing of the item stands.
	ErrNoResult = errors.New("the effect gave the item no result")
	// ErrNested reports a call made by an effect. It would wait for a connection while
	// it holds one; an effect that does two things does them in its own transaction.
	ErrNested = errors.New("an effect must not make a call of its own: do the work in its transaction")
	// ErrCall reports a Call that names no operation, has a scope that can't be
	// stored, limits that make no sense, or no fingerprint in the version that is
	// written.
	ErrCall = errors.New("the call is not complete")
	// ErrTable reports that the table idempotency_keys can't be used: it is missing,
	// is not as Schema says, refuses the row, or the role lacks a right. Sending the
	// call again does not help. Engine.Check says what is wrong.
	ErrTable = errors.New("the table idempotency_keys can't be used")
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

// waited says what a caller hears whose call was not answered.
func waited(err error) error {
	var wait *schedule.WaitError
	switch {
	case errors.Is(err, schedule.ErrFull):
		return ErrOverloaded
	case errors.Is(err, schedule.ErrClosed):
		return ErrClosed
	case !errors.As(err, &wait):
		return err
	case wait.Last != nil:
		return unavailable(wait.Last)
	case wait.Cause != nil:
		return fmt.Errorf("%w: %w", ErrInProgress, wait.Cause)
	}
	return ErrInProgress
}

func unavailable(err error) error { return fmt.Errorf("%w: %w", ErrUnavailable, err) }

// failedBy is the error of a failure that no effect is to blame for.
func failedBy(failure *store.Failure) error {
	if failure.Owner == store.Deployment {
		return fmt.Errorf("%w: %w", ErrTable, failure.Err)
	}
	return unavailable(failure.Err)
}
