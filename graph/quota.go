package graph

import (
	"context"
	"encoding/json"
	"log/slog"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/db"
	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/idempotency/gqlidem"
	"github.com/onceql/onceql/internal/quota"
	"github.com/onceql/onceql/internal/telemetry"
)

// SetQuota bounds the keys that are stored for each tenant, and the bytes of their results.
// A zero is no bound. The log says when a tenant's can't be counted. Call it before the
// first request.
func (r *Resolver) SetQuota(most quota.Usage, log *slog.Logger) {
	if most == (quota.Usage{}) {
		return
	}
	counted := int64(math.MaxInt64) // Rows beyond the bound need not be read.
	if most.Keys > 0 {
		counted = most.Keys
	}
	r.quota = quota.NewStored(most, func(ctx context.Context, tenant string) (usage quota.Usage, err error) {
		err = r.queries.Read(ctx, countingTenant, func(ctx context.Context, conn db.Conn) error {
			found, err := r.engine.UsageOn(ctx, conn, tenant, counted)
			usage = quota.Usage(found)
			return err
		})
		return usage, err
	}, func(ctx context.Context, tenant string, err error) {
		log.WarnContext(ctx, "what is stored for a tenant can't be counted", "tenant", telemetry.Tenant(tenant), "err", Describe(err))
	})
}

// countingTenant is whose turn a count takes: a tenant that fills its own share of the
// connections is counted all the same. No token can name it.
const countingTenant = "\x00counts"

// withinQuota returns why the tenant may not store one more key, or nil. Effects ask it: a
// key that is stored already, or executes at this moment, never comes there.
func (r *Resolver) withinQuota(tenant string) error {
	if r.quota == nil {
		return nil
	}
	if limit := r.quota.Exceeded(tenant); limit != "" {
		return limitExceeded(limit, "as many "+limit+" are stored for this tenant as may be, until old ones are purged")
	}
	return nil
}

// counted runs a call whose effect asks withinQuota, counts what it stored, and tells what
// became of it. Every keyed call passes here.
func counted[T any](ctx context.Context, r *Resolver, run func() (idempotency.Outcome[T], error)) (T, error) {
	tenant, unknown := r.tenant(ctx)
	bounded := r.quota != nil && unknown == nil // The call says so itself.
	if bounded {
		r.quota.Know(ctx, tenant)
	}
	outcome, err := told(ctx, r, tenant, run)
	if bounded && err == nil && !outcome.Replayed {
		stored, _ := json.Marshal(outcome.Value)
		r.quota.Add(tenant, int64(len(stored)))
	}
	return outcome.Value, err
}

// do runs the effect at most once, within the tenant's quota.
func do[T any](ctx context.Context, r *Resolver, effect func(context.Context, pgx.Tx) (T, error)) (T, error) {
	return counted(ctx, r, func() (idempotency.Outcome[T], error) {
		return gqlidem.DoOutcome(ctx, r.once, func(ctx context.Context, tx pgx.Tx) (none T, err error) {
			tenant, err := r.tenant(ctx)
			if err == nil {
				err = r.withinQuota(tenant)
			}
			if err != nil {
				return none, err
			}
			return effect(ctx, tx)
		})
	})
}
