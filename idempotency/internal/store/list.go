package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// A Filter says which rows are listed. What is zero keeps none out.
type Filter struct {
	// Scope, unless AllScopes is set, is the one whose rows are listed.
	Scope                     string
	AllScopes                 bool
	Key, Operation, RequestID string
	// TraceID is that of the row without its span.
	TraceID string
	// From and Until bound when the row was made: not before From, and before Until.
	From, Until time.Time
	// After, where it is not nil, is the row behind which the list goes on.
	After *Place
	Limit int
	// Timeout bounds the statement.
	Timeout time.Duration
}

// A Place is that of a row in a list.
type Place struct {
	CreatedAt  time.Time
	Scope, Key string
}

// ErrListSlow reports a list that was not there in time.
var ErrListSlow = errors.New("the list took too long: ask for one scope, or for a shorter time")

// Listed is a row of a list: without its response, but with what that takes.
type Listed struct {
	Row
	Bytes int64
}

// ListOn returns rows that pass the filter, newest first.
func (s *Store) ListOn(ctx context.Context, q Querier, filter Filter) (rows []Listed, failure *Failure) {
	failure = s.on(ctx, q, "listing keys", func(sql *statements) error {
		text, args := filter.Statement(sql.table)
		var batch pgx.Batch
		if !filter.AllScopes {
			batch.Queue(scopeSQL, filter.Scope)
		}
		batch.Queue(ListSettings, milliseconds(filter.Timeout), filter.AllScopes)
		batch.Queue(text, args...).Query(func(found pgx.Rows) (err error) {
			rows, err = pgx.CollectRows(found, scanListed)
			return err
		})
		err := q.SendBatch(ctx, &batch).Close()
		if code(err) == "57014" && ctx.Err() == nil {
			err = fmt.Errorf("%w: %w", ErrListSlow, err)
		}
		return err
	})
	return rows, failure
}

// ListSettings bound a list. A page of one scope can't be had from the index of all scopes
// then. The planner would take that where it believes that the scope's rows are spread evenly,
// and it would pass over all others until it comes to a scope's that are old.
const ListSettings = `select set_config('statement_timeout', $1, true),
	set_config('enable_incremental_sort', case when $2 then 'on' else 'off' end, true)`

// Statement is the list's on the table. It has conditions for what is asked for alone: it is
// planned by them. A page of one scope is a range of the index on (scope, created_at, key),
// and one of all scopes a range of that on created_at, where only rows of one moment have to
// be sorted.
func (f Filter) Statement(table string) (text string, args []any) {
	var conditions []string
	where := func(condition string, values ...any) {
		for _, value := range values {
			args = append(args, value)
			condition = strings.Replace(condition, "?", fmt.Sprintf("$%d", len(args)), 1)
		}
		conditions = append(conditions, condition)
	}
	order := "created_at desc, scope desc, key desc"
	if !f.AllScopes {
		where("scope = ?", f.Scope)
		order = "created_at desc, key desc"
	}
	for _, equal := range []struct{ column, value string }{{"key", f.Key}, {"operation", f.Operation}, {"request_id", f.RequestID}, {"left(trace_id, 32)", f.TraceID}} {
		if equal.value != "" {
			where(equal.column+" = ?", equal.value)
		}
	}
	if !f.From.IsZero() {
		where("created_at >= ?", f.From)
	}
	if !f.Until.IsZero() {
		where("created_at < ?", f.Until)
	}
	switch {
	case f.After == nil:
	case f.AllScopes:
		where("created_at <= ? and (created_at, scope, key) < (?, ?, ?)", f.After.CreatedAt, f.After.CreatedAt, f.After.Scope, f.After.Key)
	default:
		where("(created_at, key) < (?, ?)", f.After.CreatedAt, f.After.Key)
	}
	text = `
		select ` + listedColumns + `
		from ` + table
	if conditions != nil {
		text += `
		where ` + strings.Join(conditions, " and ")
	}
	args = append(args, f.Limit)
	return text + `
		order by ` + order + fmt.Sprintf(`
		limit $%d`, len(args)), args
}

const listedColumns = `scope, key, operation, request_hash, hash_version, coalesce(request_id, ''), execution_id,
	coalesce(trace_id, ''), created_at, expires_at, retained_until, expires_at <= now(), pg_column_size(response_json)`

func scanListed(row pgx.CollectableRow) (Listed, error) {
	var r Listed
	err := row.Scan(&r.Scope, &r.Key.Key, &r.Operation, &r.Hash, &r.HashVersion, &r.RequestID, &r.ExecutionID,
		&r.Trace, &r.CreatedAt, &r.ExpiresAt, &r.RetainedUntil, &r.Expired, &r.Bytes)
	return r, err
}
