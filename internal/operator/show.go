package operator

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/onceql/onceql/idempotency"
)

// A ShowRequest is what `key show` asks for.
type ShowRequest struct {
	Key string
	// Tenant is whose; nil asks for all tenants that used the key.
	Tenant *string
	// Payload asks for what is replayed too.
	Payload bool
}

// A Shown is what `key show --json` prints.
type Shown struct {
	Key   string `json:"key"`
	Calls []Call `json:"calls"`
	// Executing says whether a call with the key executes now; nil when no tenant was named.
	Executing *bool `json:"executing,omitempty"`
	// Actions are what operators did to the key; nil when the role can't read of them.
	Actions []Action `json:"actions"`
}

// most is how many calls are shown of one key, and how many actions: a tenant may be a user.
const most = 100

// Show prints what a key did.
func (s *Session) Show(ctx context.Context, request ShowRequest, to Output) error {
	if err := idempotency.ValidateKey(request.Key); err != nil {
		return err
	}
	if err := s.See(request.Tenant); err != nil {
		return err
	}
	filter := idempotency.Filter{Key: request.Key, AllScopes: request.Tenant == nil, Timeout: listTimeout}
	if request.Tenant != nil {
		filter.Scope = *request.Tenant
	}
	records, err := s.Keys.List(ctx, filter, nil, most)
	if err != nil {
		return err
	}
	found := Shown{Key: request.Key, Calls: make([]Call, len(records))}
	for i, record := range records {
		found.Calls[i] = callOf(record)
		if request.Payload {
			if found.Calls[i].Payload, _, err = s.Keys.Payload(ctx, record.Scope, record.Key); err != nil {
				return err
			}
		}
	}
	if request.Tenant != nil && len(records) == 0 {
		executing, err := s.Keys.Executing(ctx, *request.Tenant, request.Key)
		if err != nil {
			return err
		}
		found.Executing = &executing
	}
	if s.rights.records { // Whoever may add to the record may read it.
		if found.Actions, err = s.Actions(ctx, Which{request.Tenant, request.Key, most}); err != nil {
			return err
		}
	}
	if len(records) == 0 {
		if err := s.absent(); err != nil {
			return err
		}
	}
	if err := found.print(to, s.rights.records); err != nil {
		return err
	}
	if len(records) == 0 {
		return Absent
	}
	return nil
}

func (f Shown) print(to Output, recorded bool) error {
	if to.JSON {
		if f.Actions == nil && recorded {
			f.Actions = []Action{}
		}
		return printJSON(to.Out, f)
	}
	for i, call := range f.Calls {
		if i > 0 {
			fmt.Fprintln(to.Out)
		}
		d := newDetails(to.Out)
		call.describe(d)
		if err := d.end(); err != nil {
			return err
		}
		if call.Payload != nil {
			var indented bytes.Buffer
			if err := json.Indent(&indented, call.Payload, "", "  "); err != nil {
				return fmt.Errorf("the payload is no JSON: %w", err)
			}
			fmt.Fprintln(to.Out, JSONText(indented.Bytes()))
		}
	}
	switch {
	case len(f.Calls) == most:
		fmt.Fprintf(to.Out, "\nThere may be more: these are the newest %d. Give --tenant.\n", most)
	case len(f.Calls) > 1:
		fmt.Fprintf(to.Out, "\n%d tenants used the key, each for a call of its own.\n", len(f.Calls))
	case len(f.Calls) == 0 && f.Executing != nil && *f.Executing:
		fmt.Fprintln(to.Out, "A call with this key executes now: ask again.")
	case len(f.Calls) == 0:
		fmt.Fprintln(to.Out, "No call with this key is known: none was executed here, or it was purged or forgotten.")
		if f.Executing == nil {
			fmt.Fprintln(to.Out, "Whether one executes now is not known either: give --tenant.")
		}
		if !recorded {
			fmt.Fprintln(to.Out, "Whether it was forgotten is not known: the database's role can't read the record of that.")
		}
	}
	for _, action := range whole(f.Actions) {
		fmt.Fprintln(to.Out)
		if err := action.print(to.Out, ", perhaps this one among them"); err != nil {
			return err
		}
	}
	return nil
}

// print tells of an action in a sentence, and of one on all keys of a tenant with more.
func (a Action) print(out io.Writer, more string) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s", second(a.At), Text(a.Operator))
	switch {
	case a.Action == ActionForget && a.Operation != nil && a.ExecutedAt != nil:
		fmt.Fprintf(&text, " forgot the call %s", Text(*a.Operation))
		if a.Tenant != nil {
			fmt.Fprintf(&text, " of tenant %s", Text(*a.Tenant))
		}
		fmt.Fprintf(&text, ", executed %s", moment(*a.ExecutedAt))
		if a.RequestID != nil {
			fmt.Fprintf(&text, " by request %s", Text(*a.RequestID))
		}
	case a.Action == ActionForgetTenant && a.Tenant != nil:
		fmt.Fprintf(&text, " forgot %s of tenant %s%s", keys(a.Removed), Text(*a.Tenant), more)
	case a.Action == ActionRemoveKeys && a.Tenant != nil:
		fmt.Fprintf(&text, " removed tenant %s, and %s%s", Text(*a.Tenant), keys(a.Removed), more)
	case a.Action == ActionRemoveProjects && a.Tenant != nil:
		fmt.Fprintf(&text, " removed tenant %s, and %d projects", Text(*a.Tenant), a.Removed)
	default:
		fmt.Fprintf(&text, " did %s, %d rows", Text(a.Action), a.Removed)
	}
	// In quotes whatever it is: it is somebody's sentence.
	fmt.Fprintf(&text, ",\n  as the role %s: %q\n", Text(a.Role), a.Reason)
	_, err := io.WriteString(out, text.String())
	return err
}

// keys is how many, in words.
func keys(n int64) string {
	if n == 1 {
		return "1 key"
	}
	return fmt.Sprintf("%d keys", n)
}
