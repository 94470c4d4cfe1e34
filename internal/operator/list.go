package operator

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/onceql/onceql/idempotency"
)

// listTimeout is how long a statement that lists may take. Without an index it reads a table
// of ten million rows in that time.
const listTimeout = time.Minute

// page is how many rows one statement lists.
const page = 1000

// A ListRequest is what `key list` asks for.
type ListRequest struct {
	// Tenant is whose; nil asks for those of all tenants.
	Tenant *string
	// Operation, RequestID and TraceID are what the calls have in common; nil bounds nothing. A
	// trace may have its span behind it, as the table's column has.
	Operation, RequestID, TraceID *string
	// From and Until bound when the calls were executed. Zero bounds nothing.
	From, Until time.Time
	// Since is how long ago they were executed at most, by the database's clock. It takes
	// the place of From; zero bounds nothing.
	Since time.Duration
	Limit int
}

// List prints calls, newest first: with JSON one object in a line.
func (s *Session) List(ctx context.Context, request ListRequest, to Output) error {
	if request.Limit < 1 {
		return errors.New("--limit must be at least 1")
	}
	filter, err := request.filter()
	if err != nil {
		return err
	}
	if err := s.See(request.Tenant); err != nil {
		return err
	}
	if request.Since > 0 {
		if err := s.pool.QueryRow(ctx, `select now() - $1::interval`, request.Since).Scan(&filter.From); err != nil {
			return err
		}
	}
	listed := 0
	var last *idempotency.Position
	for listed < request.Limit {
		limit := min(page, request.Limit-listed)
		records, err := s.Keys.List(ctx, filter, last, limit)
		if err != nil {
			return err
		}
		if err := printCalls(to, records, listed == 0); err != nil {
			return err
		}
		listed += len(records)
		if len(records) < limit {
			break
		}
		last = new(records[len(records)-1].Position())
	}
	if listed == request.Limit {
		more, err := s.Keys.List(ctx, filter, last, 1)
		if err != nil {
			return err
		}
		if len(more) > 0 {
			fmt.Fprintf(to.Err, "These are the newest %d: there are more, see --limit.\n", listed)
		}
	}
	if listed == 0 {
		if err := s.absent(); err != nil {
			return err
		}
		fmt.Fprintln(to.Err, "No such call is known.")
	}
	if err := s.sayRemoved(ctx, filter, to); err != nil {
		return err
	}
	if listed == 0 {
		return Absent
	}
	return nil
}

var traceForm = regexp.MustCompile(`^[0-9a-f]{32}(-[0-9a-f]{16})?$`)

// filter is what is asked for. What is empty was meant to say something, as a script's variable
// that is not set: it must not list all.
func (r ListRequest) filter() (idempotency.Filter, error) {
	filter := idempotency.Filter{AllScopes: r.Tenant == nil, From: r.From, Until: r.Until, Timeout: listTimeout}
	if r.Tenant != nil {
		filter.Scope = *r.Tenant
	}
	for _, of := range []struct {
		flag string
		from *string
		to   *string
	}{{"--operation", r.Operation, &filter.Operation}, {"--request", r.RequestID, &filter.RequestID}, {"--trace", r.TraceID, &filter.TraceID}} {
		if of.from == nil {
			continue
		}
		if *of.from == "" {
			return filter, fmt.Errorf("%s is empty", of.flag)
		}
		*of.to = *of.from
	}
	if filter.TraceID != "" {
		id := strings.ToLower(filter.TraceID)
		if !traceForm.MatchString(id) {
			return filter, errors.New("--trace is no trace's id: 32 hexadecimal digits")
		}
		filter.TraceID = id[:32]
	}
	return filter, nil
}

// sayRemoved tells who lists calls that operators removed some that would be listed, or may.
// Without it one row where there were two looks as if there had been one execution.
func (s *Session) sayRemoved(ctx context.Context, filter idempotency.Filter, to Output) error {
	if !s.rights.records {
		if !s.rights.recorded {
			return nil // The schema is of a build that kept no record.
		}
		fmt.Fprintln(to.Err, "Whether operators forgot others is not known: the database's role can't read the record of that.")
		return nil
	}
	var removed int64
	err := s.pool.QueryRow(ctx, `
		select coalesce(sum(removed), 0)::bigint
		from operator_actions
		where action <> $1 and ($2 or scope = $3)
		and ($4 = '' or operation is null or operation = $4)
		and ($5 = '' or operation is null or request_id = $5)
		and ($6 = '' or operation is null or left(trace_id, 32) = $6)
		and acted_at >= $7 and coalesce(executed_at, acted_at) >= $7
		and ($8::timestamptz is null or coalesce(executed_at, $7) < $8)`,
		ActionRemoveProjects, filter.AllScopes, filter.Scope, filter.Operation, filter.RequestID, filter.TraceID,
		filter.From, bound(filter.Until)).Scan(&removed)
	if err != nil {
		return fmt.Errorf("reading the record of actions: %w", err)
	}
	if removed > 0 {
		fmt.Fprintf(to.Err, "Operators forgot or removed %s that this may leave out, see `onceql key audit`.\n", keys(removed))
	}
	return nil
}

// bound is nil where the time bounds nothing.
func bound(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return &at
}

func printCalls(to Output, records []idempotency.Record, first bool) error {
	if to.JSON {
		for _, record := range records {
			if err := printJSON(to.Out, callOf(record)); err != nil {
				return err
			}
		}
		return nil
	}
	if len(records) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(to.Out, 0, 0, 2, ' ', 0)
	if first {
		fmt.Fprintln(table, "EXECUTED\tTENANT\tKEY\tOPERATION\tSTATE\tREQUEST")
	}
	for _, record := range records {
		call := callOf(record)
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", second(call.ExecutedAt), Text(call.Tenant), Text(call.Key),
			Text(call.Operation), call.state(), optional(call.RequestID))
	}
	return table.Flush()
}

// Audit prints what operators did, newest first: with JSON one object in a line.
func (s *Session) Audit(ctx context.Context, which Which, to Output) error {
	switch {
	case which.Limit < 1:
		return errors.New("--limit must be at least 1")
	case !s.rights.recorded:
		return fmt.Errorf("%w: it finds no table operator_actions: run `onceql migrate up`", ErrRole)
	case !s.rights.records:
		return fmt.Errorf("%w: %s may not read the record of actions: set OPERATOR_DATABASE_URL", ErrRole, Text(s.rights.role))
	}
	actions, err := s.Actions(ctx, which)
	if err != nil {
		return err
	}
	listed := actions
	if !to.JSON {
		listed = whole(actions)
	}
	for _, action := range listed {
		if to.JSON {
			err = printJSON(to.Out, action)
		} else {
			err = action.print(to.Out, "")
		}
		if err != nil {
			return err
		}
	}
	if len(actions) > 0 {
		return nil
	}
	if err := s.absent(); err != nil {
		return err
	}
	fmt.Fprintln(to.Err, "No such action is recorded.")
	return Absent
}
