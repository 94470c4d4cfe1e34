package telemetry

import (
	"context"
	"time"
)

// A Call is a keyed call that ended: a mutation field that came to its resolver, or that
// the caller's token does not allow.
type Call struct {
	// Tenant is whose call it is, and "" where that is not known. Key is as the client
	// sent it, valid or not. Neither is a label, and the key is never logged.
	Tenant, Key string
	// Operation is the mutation's field.
	Operation string
	Outcome   Outcome
	// Duration is how long the caller waited.
	Duration time.Duration
	// ExecutedBy is the id of the request that executed, for CallExecuted and
	// CallReplayed; this one's for the former.
	ExecutedBy string
	// ExecutedTrace and ExecutedSpan are of the trace of that request, where one was
	// recorded.
	ExecutedTrace, ExecutedSpan string
}

// Ended is told of each keyed call when it ends, in the request that ctx belongs to.
type Ended func(ctx context.Context, call Call)

// An Outcome is how a keyed call ended, in the words that metrics, logs and traces share.
type Outcome uint8

const (
	// CallExecuted is a call whose effect committed.
	CallExecuted Outcome = iota
	// CallReplayed is a call that was answered with what an earlier one did.
	CallReplayed
	// CallReused is a call whose key did something else.
	CallReused
	// CallExpired is a call whose key's result is no longer replayed.
	CallExpired
	// CallInProgress is a call whose key executes longer than the caller waits.
	CallInProgress
	// CallRefused is a call that the rules refused: its input, its key's form, its tenant's
	// limits, the token's scopes, or what it asks for is not there or has changed.
	CallRefused
	// CallUnavailable is a call whose outcome could not be found out.
	CallUnavailable
	// CallInternal is a call that met a defect of the server.
	CallInternal
	// CallCancelled is a call whose outcome nobody waits for any more.
	CallCancelled

	outcomes = iota
)

var outcomeNames = [outcomes]string{
	"executed", "replayed", "reused", "expired", "in_progress", "refused", "unavailable", "internal", "cancelled",
}

// String returns the outcome's word.
func (o Outcome) String() string { return outcomeNames[o] }

// Outcomes returns every outcome.
func Outcomes() []Outcome {
	all := make([]Outcome, outcomes)
	for i := range all {
		all[i] = Outcome(i)
	}
	return all
}
