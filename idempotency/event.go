package idempotency

// An Event is something that an operator may want to count or log. It carries
// no key and no payload.
type Event struct {
	Kind EventKind
	// Operation and RequestID are those of the call that the event is about;
	// empty for Purged and PurgeFailed.
	Operation, RequestID string
	// TraceID is that of the call, as Call has it.
	TraceID string
	// ExecutedBy is the id of the request that executed, for Executed and
	// Replayed.
	ExecutedBy string
	// Err is why, for all but Executed, Replayed and Purged. An effect's own
	// error may hold what the effect put there.
	Err error
	// Count is how many rows, for Purged.
	Count int64
}

// EventKind says what an Event tells.
type EventKind int

const (
	// Executed means: the call's effect committed.
	Executed EventKind = iota
	// Replayed means: the call was answered with what an earlier one did.
	Replayed
	// Refused means: the key did something else, or has expired.
	Refused
	// Failed means: the call's execution ended without a committed effect.
	Failed
	// Retried means: an execution had a conflict or could not reach the database, and is
	// tried again.
	Retried
	// CommitUnknown means: a COMMIT went unanswered, and the row is looked up.
	CommitUnknown
	// Purged means: rows past their retention were removed.
	Purged
	// PurgeFailed means: a purge ended with an error; the next one goes on.
	PurgeFailed
)

var eventKinds = [...]string{
	"executed", "replayed", "refused", "failed", "retried", "commit unknown", "purged", "purge failed",
}

// String returns the kind in lower-case words.
func (k EventKind) String() string { return eventKinds[k] }
