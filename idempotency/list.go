package idempotency

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/onceql/onceql/idempotency/internal/store"
)

// A Record is the row of a key, without its payload.
type Record struct {
	CallInfo
	Scope string
	// Fingerprint is the hash of the call's payload, in the version.
	Fingerprint        [32]byte
	FingerprintVersion int16
	// Bytes is what the payload takes as Postgres stores it: a large one is compressed.
	Bytes int64
}

// Position is where the record stands in a list.
func (r Record) Position() Position { return Position{r.ExecutedAt, r.Scope, r.Key} }

// A Position is a place in a list of records, that of a record which is there or was.
type Position struct {
	ExecutedAt time.Time
	Scope, Key string
}

// A Filter says which records are listed. What is zero keeps none out, but for Scope: a
// filter is of one scope unless AllScopes is set.
type Filter struct {
	Scope     string
	AllScopes bool
	// Key, Operation, RequestID and TraceID are equal to those of the record.
	Key, Operation, RequestID, TraceID string
	// From and Until bound when the call was executed: not before From, and before Until.
	From, Until time.Time
	// Timeout bounds the statement in the database. Zero means DefaultListTimeout.
	Timeout time.Duration
}

// DefaultListTimeout is how long a list may take in the database.
const DefaultListTimeout = 5 * time.Second

// ErrListSlow reports a list that was not there in time. It is an ErrUnavailable too.
var ErrListSlow = fmt.Errorf("%w: %w", ErrUnavailable, store.ErrListSlow)

// ListOn returns the records that pass the filter, newest first and at most limit: the first
// of them, or those behind after where that is not nil. It runs on what the caller gives, as
// LookupOn does, and sets statement_timeout and enable_incremental_sort there as well. A
// transaction of the caller's keeps these.
//
// A page of a scope, or of all scopes, is a range of an index, whatever its time is bounded
// by. Records of one key, operation, request or trace are looked for among the others, newest
// first, and those of a key among all scopes in the whole table: it is ErrListSlow when
// that takes longer than the filter's time-out.
func (e *Engine) ListOn(ctx context.Context, q Querier, filter Filter, after *Position, limit int) ([]Record, error) {
	return listOn(ctx, e.store, q, filter, after, limit)
}

func listOn(ctx context.Context, from *store.Store, q Querier, filter Filter, after *Position, limit int) ([]Record, error) {
	if filter.Timeout == 0 {
		filter.Timeout = DefaultListTimeout
	}
	// The statement's own time-out does not hold while it is prepared, which waits for whoever
	// changes the table.
	bounded, cancel := context.WithTimeout(ctx, filter.Timeout+time.Second)
	defer cancel()
	rows, failure := from.ListOn(bounded, q, storeFilter(filter, after, limit))
	switch {
	case failure == nil:
	case errors.Is(failure, store.ErrListSlow), bounded.Err() != nil && ctx.Err() == nil:
		return nil, ErrListSlow
	default:
		return nil, failedBy(failure)
	}
	records := make([]Record, len(rows))
	for i, row := range rows {
		records[i] = recordOf(row)
	}
	return records, nil
}

func storeFilter(filter Filter, after *Position, limit int) store.Filter {
	f := store.Filter{
		Scope: filter.Scope, AllScopes: filter.AllScopes,
		Key: filter.Key, Operation: filter.Operation, RequestID: filter.RequestID, TraceID: filter.TraceID,
		From: filter.From, Until: filter.Until,
		Limit: limit, Timeout: filter.Timeout,
	}
	if after != nil {
		f.After = &store.Place{CreatedAt: after.ExecutedAt, Scope: after.Scope, Key: after.Key}
	}
	return f
}

func recordOf(row store.Listed) Record {
	record := Record{CallInfo: infoOf(row.Row), Scope: row.Scope, FingerprintVersion: row.HashVersion, Bytes: row.Bytes}
	copy(record.Fingerprint[:], row.Hash)
	return record
}
