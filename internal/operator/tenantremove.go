package operator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/internal/tenants"
)

// A RemoveRequest is what `tenant remove` asks for.
type RemoveRequest struct {
	Tenant string
	// Reason is recorded.
	Reason string
	// DryRun asks only what would be removed.
	DryRun bool
	// WhileActive removes also what a tenant has that called lately.
	WhileActive bool
	Timeout     time.Duration
	// Confirm asks whether to go on; nil goes on.
	Confirm func(ctx context.Context, question string) (bool, error)
}

// activeFor is how long after its newest call a tenant is taken for one that goes on.
const activeFor = 5 * time.Minute

// A RemovedTenant is what `tenant remove --json` prints.
type RemovedTenant struct {
	Tenant string `json:"tenant"`
	DryRun bool   `json:"dryRun"`
	// Found is what was stored before.
	Found tenants.Exported `json:"found"`
	tenants.Removed
	// Action is the id of what is recorded; nil when nothing was removed.
	Action *uuid.UUID `json:"action"`
}

// RemoveTenant removes all that is stored for a tenant, and records that: each transaction of
// it is a part of one action.
func (s *Session) RemoveTenant(ctx context.Context, request RemoveRequest, to Output) error {
	if !request.DryRun && strings.TrimSpace(request.Reason) == "" {
		return errors.New("--reason is empty: it says later why the tenant's data are gone")
	}
	if err := s.seeTenants(ctx, !request.DryRun); err != nil {
		return err
	}
	found, err := tenants.Show(ctx, s.pool, request.Tenant, request.Timeout)
	if err != nil {
		return slow(err, request.Timeout)
	}
	done := RemovedTenant{Tenant: request.Tenant, DryRun: request.DryRun, Found: tenants.Exported{Projects: found.Projects, Keys: found.Keys}}
	switch {
	case found.Empty():
		if err := s.absent(); err != nil {
			return err
		}
		fmt.Fprintln(to.Err, "Nothing is stored for this tenant.")
		return errors.Join(done.print(to), Absent)
	case request.DryRun:
		return done.print(to)
	case !request.WhileActive && found.NewestCall != nil && found.At.Sub(*found.NewestCall) < activeFor:
		fmt.Fprintf(to.Err, "The newest call of this tenant was executed %s ago, and nothing is removed.\n"+
			"What it stores while it is removed stays: take its access away first, or give --while-active.\n",
			max(0, found.At.Sub(*found.NewestCall)).Round(time.Second))
		return Refused
	}
	if request.Confirm != nil {
		yes, err := request.Confirm(ctx, fmt.Sprintf("Remove the %d projects and %d keys of tenant %s? "+
			"There is no way back. Calls that come again with these keys execute again.", found.Projects, found.Keys, Text(request.Tenant)))
		if err != nil && !errors.Is(err, ErrDeclined) {
			return err
		}
		if !yes {
			return errors.New("nothing is removed")
		}
	}
	id := uuid.Must(uuid.NewV7())
	bar := to.progress("rows removed", found.Projects+found.Keys)
	part := 0
	done.Removed, err = tenants.Removal{
		Tenant: request.Tenant,
		Record: func(ctx context.Context, tx pgx.Tx, removed tenants.Removed) error {
			part++
			action := Action{
				ID: id, Part: part, Operator: Who(), Action: ActionRemoveKeys, Reason: request.Reason,
				Tenant: &request.Tenant, Removed: removed.Keys,
			}
			if removed.Projects > 0 {
				action.Action, action.Removed = ActionRemoveProjects, removed.Projects
			}
			return Record(ctx, tx, action)
		},
		Progress: func(removed tenants.Removed) { bar.show(removed.Projects + removed.Keys) },
	}.Run(ctx, s.pool)
	bar.end()
	if done.Projects+done.Keys > 0 {
		done.Action = &id
	}
	if printed := done.print(to); printed != nil {
		return errors.Join(printed, err)
	}
	switch {
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		fmt.Fprintln(to.Err, "Stopped: the rest is kept. The same command goes on.")
		return Interrupted
	case err != nil:
		fmt.Fprintln(to.Err, "The rest is kept. The same command goes on.")
		return err
	case done.Left:
		fmt.Fprintln(to.Err, "The tenant called meanwhile, and what it stored is there: take its access away, and remove it again.")
		return Refused
	}
	return nil
}

func (r RemovedTenant) print(to Output) error {
	if to.JSON {
		return printJSON(to.Out, r)
	}
	var err error
	switch {
	case r.DryRun:
		_, err = fmt.Fprintf(to.Out, "%d projects and %d keys of tenant %s would be removed.\n", r.Found.Projects, r.Found.Keys, Text(r.Tenant))
	case r.Action != nil:
		_, err = fmt.Fprintf(to.Out, "Removed %d projects and %d keys of tenant %s, and recorded it as %s.\nA call that comes again with one of these keys executes again.\n",
			r.Projects, r.Keys, Text(r.Tenant), r.Action)
	}
	return err
}
