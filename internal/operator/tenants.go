package operator

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/onceql/onceql/internal/telemetry"
	"github.com/onceql/onceql/internal/tenants"
)

// seeTenants reports ErrRole when the role does not see all rows of all tenants, or, to
// remove some, may not do that.
func (s *Session) seeTenants(ctx context.Context, remove bool) error {
	see := s.See
	if remove {
		see = s.mayRemove
	}
	if err := see(nil); err != nil {
		return err
	}
	command, right := "operator_sees", "select"
	if remove {
		command, right = "operator_removes", "delete"
	}
	var may bool
	err := s.pool.QueryRow(ctx, `
		select coalesce(has_table_privilege(projects, $1) and (not row_security_active(projects) or exists (
			select from pg_policy cross join unnest(polroles) as member
			where polrelid = projects and polname = $2 and member <> 0 and pg_has_role(member, 'usage')
		)), false)
		from (select to_regclass('projects')) as tables (projects)`, right, command).Scan(&may)
	if err != nil {
		return fmt.Errorf("asking the database: %w", err)
	}
	if !may {
		return fmt.Errorf("%w: %s may not %s the projects of all tenants: set OPERATOR_DATABASE_URL, and run `onceql migrate up` with it", ErrRole, Text(s.rights.role), right)
	}
	return nil
}

// slow says what to do about a statement that took too long.
func slow(err error, timeout time.Duration) error {
	if errors.Is(err, tenants.ErrTooSlow) {
		return fmt.Errorf("%w: a statement ran for longer than %s, see --timeout", tenants.ErrTooSlow, timeout)
	}
	return err
}

// A ListTenantsRequest is what `tenant list` asks for.
type ListTenantsRequest struct {
	Order tenants.Order
	Limit int
	// Exact asks for every row to be read, however many there are.
	Exact   bool
	Timeout time.Duration
	// Servers are the addresses of the servers' metrics, whose counts of calls are added up.
	Servers []string
}

// A Tenant is one of a list, as `tenant list --json` prints it.
type Tenant struct {
	tenants.Listed
	// Calls are those of lately; nil where no server was asked.
	Calls *Calls `json:"calls,omitempty"`
}

// ListTenants prints the tenants for whom something is stored: with JSON one object in a line.
func (s *Session) ListTenants(ctx context.Context, request ListTenantsRequest, to Output) error {
	if request.Limit < 1 {
		return errors.New("--limit must be at least 1")
	}
	if err := s.seeTenants(ctx, false); err != nil {
		return err
	}
	calls, err := askServers(ctx, request.Servers)
	if err != nil {
		return err
	}
	options := tenants.ListOptions{Order: request.Order, Limit: request.Limit, SampledAbove: tenants.SampledAbove, Timeout: request.Timeout}
	if request.Exact {
		options.SampledAbove = 0
	}
	listing, err := tenants.List(ctx, s.pool, options)
	if err != nil {
		return slow(err, request.Timeout)
	}
	if listing.Of == 0 {
		if err := s.absent(); err != nil {
			return err
		}
		fmt.Fprintln(to.Err, "Nothing is stored for any tenant.")
		return Absent
	}
	if to.JSON {
		for _, listed := range listing.Tenants {
			if err := printJSON(to.Out, Tenant{listed, calls.of(listed.Tenant)}); err != nil {
				return err
			}
		}
	} else if err := printTenants(to, listing, calls); err != nil {
		return err
	}
	if len(listing.Tenants) < listing.Of {
		fmt.Fprintf(to.Err, "These are %d of %d tenants, see --limit.\n", len(listing.Tenants), listing.Of)
	}
	for _, read := range []struct {
		part float64
		rows string
	}{{listing.KeysRead, "keys"}, {listing.ProjectsRead, "projects"}} {
		if read.part < 1 {
			fmt.Fprintf(to.Err, "About %.2g %% of the %s were read, chosen at random: large numbers are estimates, see --exact.\n", 100*read.part, read.rows)
		}
	}
	return nil
}

func printTenants(to Output, listing tenants.Listing, calls *serversCalls) error {
	table := tabwriter.NewWriter(to.Out, 0, 0, 2, ' ', 0)
	header := "TENANT\tKEYS\tBYTES\tPROJECTS\tNEWEST CALL"
	if calls != nil {
		header += "\tCALLS\tREPLAYED"
	}
	fmt.Fprintln(table, header)
	for _, listed := range listing.Tenants {
		about, newest := "", ""
		if listed.Estimated {
			about = "~"
		}
		if listed.NewestCall != nil {
			newest = second(*listed.NewestCall)
		}
		fmt.Fprintf(table, "%s\t%s%d\t%s%d\t%s%d\t%s", Text(listed.Tenant), about, listed.Keys, about, listed.Bytes, about, listed.Projects, newest)
		if of := calls.of(listed.Tenant); of != nil {
			fmt.Fprintf(table, "\t%s\t%s", of.counted(), of.replayed())
		}
		fmt.Fprintln(table)
	}
	return table.Flush()
}

// A ShowTenantRequest is what `tenant show` asks for.
type ShowTenantRequest struct {
	Tenant  string
	Timeout time.Duration
	Servers []string
	// TenantKeys and TenantBytes are the servers' quotas, as far as they are known here; 0 is
	// none.
	TenantKeys, TenantBytes int64
}

// A ShownTenant is what `tenant show --json` prints.
type ShownTenant struct {
	tenants.Detail
	// Quota is what the servers are set to, as far as this command was told.
	Quota Quota  `json:"quota"`
	Calls *Calls `json:"calls,omitempty"`
}

// A Quota bounds what is stored for each tenant. Zero bounds nothing.
type Quota struct {
	Keys  int64 `json:"keys"`
	Bytes int64 `json:"bytes"`
}

// ShowTenant prints what is stored for a tenant.
func (s *Session) ShowTenant(ctx context.Context, request ShowTenantRequest, to Output) error {
	if err := s.seeTenants(ctx, false); err != nil {
		return err
	}
	calls, err := askServers(ctx, request.Servers)
	if err != nil {
		return err
	}
	detail, err := tenants.Show(ctx, s.pool, request.Tenant, request.Timeout)
	if err != nil {
		return slow(err, request.Timeout)
	}
	if detail.Empty() {
		if err := s.absent(); err != nil {
			return err
		}
	}
	shown := ShownTenant{detail, Quota{request.TenantKeys, request.TenantBytes}, calls.of(request.Tenant)}
	if to.JSON {
		err = printJSON(to.Out, shown)
	} else {
		err = shown.print(to)
	}
	if err != nil {
		return err
	}
	if detail.Empty() {
		fmt.Fprintln(to.Err, "Nothing is stored for this tenant.")
		return Absent
	}
	return nil
}

func (t ShownTenant) print(to Output) error {
	d := newDetails(to.Out)
	d.line("tenant", Text(t.Tenant))
	d.line("keys", fmt.Sprintf("%d%s", t.Keys, quotaOf("TENANT_KEYS", t.Quota.Keys)))
	d.line("bytes of results", fmt.Sprintf("%d%s", t.Bytes, quotaOf("TENANT_BYTES", t.Quota.Bytes)))
	d.line("projects", fmt.Sprintf("%d, of them %d archived", t.Projects, t.Archived))
	d.line("bytes of projects", fmt.Sprint(t.ProjectBytes))
	if t.NewestCall != nil {
		d.line("newest call", moment(*t.NewestCall))
	}
	if t.Calls != nil {
		d.line("calls", fmt.Sprintf("%s since %s", t.Calls.counted(), second(t.Calls.Since)))
		for _, outcome := range telemetry.Outcomes() {
			if n := t.Calls.Outcomes[outcome.String()]; n > 0 {
				d.line("  "+outcome.String(), fmt.Sprintf("%d, %s", n, t.Calls.share(n)))
			}
		}
	}
	if err := d.end(); err != nil || len(t.Operations) == 0 {
		return err
	}
	table := tabwriter.NewWriter(to.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nOPERATION\tKEYS\tREPLAYABLE\tEXPIRED\tBYTES\tOLDEST CALL\tNEWEST CALL")
	for _, o := range t.Operations {
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%s\t%s\n", Text(o.Operation), o.Keys, o.Replayable, o.Expired, o.Bytes, second(o.OldestCall), second(o.NewestCall))
	}
	return table.Flush()
}

// quotaOf says what a number may be at most.
func quotaOf(setting string, most int64) string {
	if most == 0 {
		return ""
	}
	return fmt.Sprintf(", of %s %d", setting, most)
}
