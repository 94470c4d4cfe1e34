package graph

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"time"

	"github.com/onceql/onceql/db"
	"github.com/onceql/onceql/graph/model"
	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/internal/identity"
)

// IdempotentCall resolves Query.idempotentCall. It reads where all queries do, so that
// whoever asks for much takes nothing from mutations.
func (r queries) IdempotentCall(ctx context.Context, key string) (*model.IdempotentCall, error) {
	// An empty key would be none to the filter.
	if idempotency.ValidateKey(key) != nil {
		return nil, nil //nolint:nilerr // Nobody can have used it.
	}
	found, err := r.calls(ctx, idempotency.Filter{Key: key}, nil, 1)
	if err != nil || len(found) == 0 {
		return nil, queryError(err)
	}
	return r.callModel(ctx, found[0]), nil
}

// IdempotentCalls resolves Query.idempotentCalls.
func (r queries) IdempotentCalls(ctx context.Context, first int32, after, operation *string, from, to *time.Time, requestID *string) (*model.IdempotentCallConnection, error) {
	if first < 1 || first > maxPage {
		return nil, badInput("first is between 1 and %d", maxPage)
	}
	filter, err := callFilter(operation, from, to, requestID)
	if err != nil {
		return nil, err
	}
	var position *idempotency.Position
	if after != nil {
		if position, err = parseCallCursor(*after); err != nil {
			return nil, err
		}
	}
	selected, err := reserve(ctx)
	if err != nil {
		return nil, queryError(err)
	}
	found, err := r.calls(ctx, filter, position, int(first)+1)
	if err != nil {
		return nil, queryError(err)
	}
	page := &model.IdempotentCallConnection{
		Edges:    []*model.IdempotentCallEdge{},
		Nodes:    []*model.IdempotentCall{},
		PageInfo: &model.PageInfo{HasNextPage: len(found) > int(first), HasPreviousPage: position != nil},
	}
	for _, record := range found[:min(int(first), len(found))] {
		node := r.callModel(ctx, record)
		page.Nodes = append(page.Nodes, node)
		page.Edges = append(page.Edges, &model.IdempotentCallEdge{Cursor: callCursor(record), Node: node})
	}
	if n := len(page.Edges); n > 0 {
		page.PageInfo.StartCursor = &page.Edges[0].Cursor
		page.PageInfo.EndCursor = &page.Edges[n-1].Cursor
	}
	if err := selected.readCalls(ctx, page.Nodes); err != nil {
		return nil, queryError(err)
	}
	return page, nil
}

// calls returns what is stored of the tenant of the request and passes the filter.
func (r queries) calls(ctx context.Context, filter idempotency.Filter, after *idempotency.Position, limit int) (found []idempotency.Record, err error) {
	tenant, err := r.tenant(ctx)
	if err != nil {
		return nil, err
	}
	filter.Scope, filter.Timeout = tenant, r.queries.Timeout()
	err = r.queries.Read(ctx, tenant, func(ctx context.Context, conn db.Conn) (err error) {
		found, err = r.engine.ListOn(ctx, conn, filter, after, limit)
		return err
	})
	if errors.Is(err, idempotency.ErrListSlow) {
		err = errors.Join(db.ErrSlow, err)
	}
	return found, err
}

// maxFiltered is the longest text that calls are looked for by, in bytes: longer than any
// that is stored.
const maxFiltered = 1000

// callFilter is what the arguments ask for. Null and absent are the same.
func callFilter(operation *string, from, to *time.Time, requestID *string) (filter idempotency.Filter, err error) {
	for _, argument := range []struct {
		name  string
		value *string
		into  *string
	}{{"operation", operation, &filter.Operation}, {"requestId", requestID, &filter.RequestID}} {
		if argument.value == nil {
			continue
		}
		if n := len(*argument.value); n < 1 || n > maxFiltered {
			return filter, badInput("%s has 1 to %d bytes, this one has %d", argument.name, maxFiltered, n)
		}
		for i := range *argument.value {
			if (*argument.value)[i] == 0 {
				return filter, badInput("%s has no NUL character", argument.name)
			}
		}
		*argument.into = *argument.value
	}
	if from != nil {
		filter.From = *from
	}
	if to != nil {
		filter.Until = *to
		if filter.Until.IsZero() { // To the filter it would be none.
			filter.Until = filter.Until.Add(time.Millisecond)
		}
	}
	return filter, nil
}

func (r queries) callModel(ctx context.Context, record idempotency.Record) *model.IdempotentCall {
	call := &model.IdempotentCall{
		Key:           record.Key,
		Operation:     record.Operation,
		ExecutedAt:    record.ExecutedAt,
		ExpiresAt:     record.ExpiresAt,
		Expired:       record.Expired,
		RetainedUntil: record.RetainedUntil,
		KeyHash:       idempotency.KeyHash(record.Scope, record.Key),
		RequestID:     given(record.RequestID),
	}
	if r.May == nil || r.May(ctx, identity.ScopeKeys) {
		version := int32(record.FingerprintVersion)
		call.TraceID = given(record.TraceID)
		call.Fingerprint = given(hex.EncodeToString(record.Fingerprint[:]))
		call.FingerprintVersion = &version
	}
	return call
}

// given is null for the empty text.
func given(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// A cursor of calls is a version byte, the microseconds of the execution since 1970, and the
// key. The tenant is the caller's.
const (
	callCursorVersion = 2 // That of projects has 1.
	callCursorLength  = 1 + 8
)

func callCursor(record idempotency.Record) string {
	raw := make([]byte, 0, callCursorLength+len(record.Key))
	raw = append(raw, callCursorVersion)
	raw = binary.BigEndian.AppendUint64(raw, uint64(record.ExecutedAt.UnixMicro()))
	return base64.RawURLEncoding.EncodeToString(append(raw, record.Key...))
}

func parseCallCursor(text string) (*idempotency.Position, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	// The decoder passes over line breaks; cursors have none.
	if err != nil || len(raw) <= callCursorLength || len(text) != base64.RawURLEncoding.EncodedLen(len(raw)) || raw[0] != callCursorVersion {
		return nil, badInput("after is not a cursor of this connection")
	}
	at, key := time.UnixMicro(int64(binary.BigEndian.Uint64(raw[1:callCursorLength]))), string(raw[callCursorLength:])
	// Postgres's timestamps end in the year 294276, before Go's do.
	if year := at.UTC().Year(); year < 1970 || year > 9999 || idempotency.ValidateKey(key) != nil {
		return nil, badInput("after is not a cursor of this connection")
	}
	return &idempotency.Position{ExecutedAt: at, Key: key}, nil
}
