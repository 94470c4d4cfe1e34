package gqlidem

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/onceql/onceql/idempotency"
)

// The codes of the errors that Do returns, in `extensions.code`.
const (
	CodeKeyRequired = "IDEMPOTENCY_KEY_REQUIRED"
	CodeKeyInvalid  = "IDEMPOTENCY_KEY_INVALID"
	CodeKeyReused   = "IDEMPOTENCY_KEY_REUSED"
	CodeKeyExpired  = "IDEMPOTENCY_KEY_EXPIRED"
	CodeInProgress  = "IDEMPOTENCY_IN_PROGRESS"
	CodeUnavailable = "UNAVAILABLE"
	CodeInternal    = "INTERNAL"
	// CodeBadUserInput is for arguments that have no canonical form.
	CodeBadUserInput = "BAD_USER_INPUT"
)

// Retryable says whether the request that failed with the code may succeed when it
// is sent again as it is, under the same key.
func Retryable(code string) bool { return code == CodeInProgress || code == CodeUnavailable }

// RetryAfter is how long a client is asked to wait before it sends the key
// again, in `extensions.retryAfterMs` of retryable errors.
const RetryAfter = 500 * time.Millisecond

var coded = []struct {
	err           error
	code, message string
}{
	{idempotency.ErrKeyRequired, CodeKeyRequired, "an idempotency key is required: idempotencyKey is empty"},
	{idempotency.ErrKeyInvalid, CodeKeyInvalid, idempotency.ErrKeyInvalid.Error()},
	{idempotency.ErrKeyReused, CodeKeyReused, "the idempotency key was used with another payload or another mutation; nothing was done"},
	{idempotency.ErrKeyExpired, CodeKeyExpired, "the idempotency key has expired: its result is no longer replayed; nothing was done"},
	{idempotency.ErrInProgress, CodeInProgress, "a call with this idempotency key is still executing; send the same key again"},
	{idempotency.ErrUnavailable, CodeUnavailable, "the outcome is not known for now; send the same key again"},
	{idempotency.ErrPayload, CodeInternal, "internal error"},
	{idempotency.ErrTransaction, CodeInternal, "internal error"},
	{idempotency.ErrCall, CodeInternal, "internal error"},
	{idempotency.ErrNoResult, CodeInternal, "internal error"},
	{idempotency.ErrNested, CodeInternal, "internal error"},
	{idempotency.ErrTable, CodeInternal, "internal error"},
}

// fieldError gives an error of the engine its code; the error itself stays
// reachable through errors.As and errors.Is. An effect's own error is returned as
// it is, but see unshared.
func fieldError(err error) error {
	if errors.As(err, new(*gqlerror.Error)) {
		return unshared(err)
	}
	for _, c := range coded {
		if errors.Is(err, c.err) {
			return newError(err, c.code, c.message, Retryable(c.code))
		}
	}
	if errors.As(err, new(*idempotency.PanicError)) {
		return newError(err, CodeInternal, "internal error", Retryable(CodeInternal))
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return newError(err, CodeUnavailable, "the request ended before its outcome was known; send the same key again", Retryable(CodeUnavailable))
	}
	return err
}

// unshared returns a copy of the *gqlerror.Error that err is or wraps, and any
// other error as it is. gqlgen writes into it the path and the location of the
// field where there are none; callers that share one outcome, or one variable,
// must not share those.
func unshared(err error) error {
	var own *gqlerror.Error
	if !errors.As(err, &own) {
		return err
	}
	clone := *own
	clone.Path, clone.Locations = nil, nil
	clone.Extensions = maps.Clone(own.Extensions)
	if err != error(own) { //nolint:errorlint // The question is whether something wraps it.
		clone.Err = err
	}
	return &clone
}

// NewError returns an error that has in its extensions the code, whether the request
// is worth sending again, and if so, when. The code may be one of a server's own.
func NewError(code, message string) *gqlerror.Error {
	return newError(nil, code, message, Retryable(code))
}

func newError(err error, code, message string, retryable bool) *gqlerror.Error {
	extensions := map[string]any{"code": code, "retryable": retryable}
	if retryable {
		extensions["retryAfterMs"] = RetryAfter.Milliseconds()
	}
	return &gqlerror.Error{Err: err, Message: message, Extensions: extensions}
}
