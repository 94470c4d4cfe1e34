package operator

import (
	"context"
	"errors"
	"fmt"
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
	Tenant                        *string
	Operation, RequestID, TraceID string
	// From and Until bound when the calls were executed. Zero bounds nothing.
	From, Until time.Time
	Limit       int
}

// List prints calls, newest first: with JSON one object in a line.
func (s *Session) List(ctx context.Context, request ListRequest, to Output) error {
	if request.Limit < 1 {
		return errors.New("--limit must be at least 1")
	}
	if err := s.See(request.Tenant); err != nil {
		return err
	}
	filter := idempotency.Filter{
		AllScopes: request.Tenant == nil, Operation: request.Operation, RequestID: request.RequestID, TraceID: request.TraceID,
		From: request.From, Until: request.Until, Timeout: listTimeout,
	}
	if request.Tenant != nil {
		filter.Scope = *request.Tenant
	}
	listed := 0
	for after := (*idempotency.Position)(nil); listed < request.Limit; {
		limit := min(page, request.Limit-listed)
		records, err := s.Keys.List(ctx, filter, after, limit)
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
		after = new(records[len(records)-1].Position())
	}
	if listed > 0 {
		return nil
	}
	if err := s.absent(); err != nil {
		return err
	}
	fmt.Fprintln(to.Err, "No such call is known.")
	return Absent
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
