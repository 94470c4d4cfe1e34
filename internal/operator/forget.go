package operator

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

// A ForgetRequest is what `key forget` asks for.
type ForgetRequest struct {
	// Key is the one to forget; nil means all keys of the tenant.
	Key    *string
	Tenant string
	// Reason is recorded.
	Reason string
	// Confirm asks whether to go on; nil goes on.
	Confirm func(ctx context.Context, question string) (bool, error)
}

// ErrDeclined reports that somebody did not want to go on.
var ErrDeclined = errors.New("nothing is forgotten")

// A Forgotten is what `key forget --json` prints.
type Forgotten struct {
	Tenant  string  `json:"tenant"`
	KeyHash *string `json:"keyHash"`
	Removed int64   `json:"removed"`
	// Action is the id of what is recorded; nil when nothing was removed.
	Action *uuid.UUID `json:"action"`
}

// Forget removes what a key did, or what all keys of a tenant did, and records that.
func (s *Session) Forget(ctx context.Context, request ForgetRequest, to Output) error {
	if strings.TrimSpace(request.Reason) == "" {
		return errors.New("--reason is empty: it says later why a call was executed twice")
	}
	if err := s.mayRemove(&request.Tenant); err != nil {
		return err
	}
	if request.Key == nil {
		return s.forgetTenant(ctx, request, to)
	}
	key := *request.Key
	if err := idempotency.ValidateKey(key); err != nil {
		return err
	}
	record, there, err := s.Keys.Find(ctx, request.Tenant, key)
	if err != nil {
		return err
	}
	if there && request.Confirm != nil {
		d := newDetails(to.Err)
		callOf(record).describe(d)
		if err := d.end(); err != nil {
			return err
		}
		if err := confirmed(ctx, request, "Forget this call? One that comes with this key then executes again."); err != nil {
			return err
		}
	}
	done := Forgotten{Tenant: request.Tenant, KeyHash: new(idempotency.KeyHash(request.Tenant, key))}
	there, err = s.Keys.Forget(ctx, request.Tenant, key, func(tx pgx.Tx, removed idempotency.Record) error {
		// Another call may have taken its place since somebody was asked.
		if request.Confirm != nil && !removed.ExecutedAt.Equal(record.ExecutedAt) {
			return errors.New("another call was executed with the key meanwhile: nothing is forgotten")
		}
		action := forgotten(removed, request.Reason)
		done.Removed, done.Action = 1, &action.ID
		return Record(context.WithoutCancel(ctx), tx, action)
	})
	if errors.Is(err, idempotency.ErrInProgress) {
		fmt.Fprintln(to.Err, "A call with this key executes now, and nothing is forgotten: ask again when it has ended.")
		return Refused
	}
	if err != nil {
		return err
	}
	if to.JSON {
		if err := printJSON(to.Out, done); err != nil {
			return err
		}
	}
	if !there {
		fmt.Fprintln(to.Err, "No call of this tenant with this key is known.")
		return Absent
	}
	if !to.JSON {
		fmt.Fprintf(to.Out, "Forgotten, and recorded as %s. A call that comes with this key executes again.\n", done.Action)
	}
	return nil
}

func confirmed(ctx context.Context, request ForgetRequest, question string) error {
	yes, err := request.Confirm(ctx, question)
	if err == nil && !yes {
		err = ErrDeclined
	}
	return err
}

// forgetTenant removes what all keys of the tenant did. Each transaction of it is recorded as
// a part of one action.
func (s *Session) forgetTenant(ctx context.Context, request ForgetRequest, to Output) error {
	count, err := s.Keys.Count(ctx, request.Tenant)
	if err != nil {
		return err
	}
	if count > 0 && request.Confirm != nil {
		question := fmt.Sprintf("Forget all of tenant %[2]s, %[1]s? Calls that come with them then execute again.", keys(count), Text(request.Tenant))
		if err := confirmed(ctx, request, question); err != nil {
			return err
		}
	}
	done := Forgotten{Tenant: request.Tenant}
	part, id := 0, uuid.Must(uuid.NewV7())
	bar := to.progress("keys forgotten", count)
	// Its transactions are not cut short, so that a signal ends it between two of them.
	uncut := context.WithoutCancel(ctx)
	done.Removed, err = s.Keys.ForgetScope(ctx, request.Tenant, func(tx pgx.Tx, removed int64) error {
		part++
		return Record(uncut, tx, Action{
			ID: id, Part: part, Operator: Who(), Action: ActionForgetTenant, Reason: request.Reason, Tenant: &request.Tenant, Removed: removed,
		})
	}, bar.show)
	bar.end()
	if done.Removed > 0 {
		done.Action = &id
	}
	var left int64
	if err == nil {
		left, err = s.Keys.Count(uncut, request.Tenant)
	}
	switch {
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		fmt.Fprintf(to.Err, "Stopped: %s forgotten, and the others are kept.\n", keys(done.Removed))
		err = Interrupted
	case err != nil:
		fmt.Fprintf(to.Err, "%s forgotten, and the others are kept.\n", keys(done.Removed))
		return err
	case left > 0:
		fmt.Fprintf(to.Err, "The tenant called meanwhile, and %s of it stayed: take its access away, and ask again.\n", keys(left))
		err = Refused
	case done.Removed == 0:
		fmt.Fprintln(to.Err, "No key of this tenant is known.")
		err = Absent
	}
	if to.JSON {
		return errors.Join(printJSON(to.Out, done), err)
	}
	if done.Removed > 0 && !errors.Is(err, Interrupted) {
		fmt.Fprintf(to.Out, "Forgot %s, and recorded it as %s.\n", keys(done.Removed), id)
	}
	return err
}
