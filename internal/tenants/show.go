package tenants

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A Detail is what is stored for one tenant, at At by the database's clock.
type Detail struct {
	Usage
	At time.Time `json:"at"`
	// Archived are those of Projects that are archived.
	Archived int64 `json:"archived"`
	// Operations are the mutations of the keys, by name.
	Operations []Operation `json:"operations"`
}

// An Operation is what is stored of a tenant's calls of one mutation.
type Operation struct {
	Operation string `json:"operation"`
	Keys      int64  `json:"keys"`
	// Replayable are the keys that are replayed, and Expired those that are refused until
	// they are purged.
	Replayable int64     `json:"replayable"`
	Expired    int64     `json:"expired"`
	Bytes      int64     `json:"bytes"`
	OldestCall time.Time `json:"oldestCall"`
	NewestCall time.Time `json:"newestCall"`
}

// Show counts what is stored for the tenant. It reads each of its rows, within the time-out;
// zero is no bound.
func Show(ctx context.Context, database Database, tenant string, timeout time.Duration) (Detail, error) {
	detail := Detail{Usage: Usage{Tenant: tenant}}
	err := reading(ctx, database, timeout, func(tx pgx.Tx) error {
		if err := detail.readKeys(ctx, tx); err != nil {
			return fmt.Errorf("counting the keys: %w", err)
		}
		err := tx.QueryRow(ctx, `
			select now(), count(*), count(archived_at), coalesce(sum(`+projectsTable.size+`), 0)
			from projects
			where tenant = $1`, tenant).Scan(&detail.At, &detail.Projects, &detail.Archived, &detail.ProjectBytes)
		if err != nil {
			return fmt.Errorf("counting the projects: %w", err)
		}
		return nil
	})
	return detail, err
}

func (d *Detail) readKeys(ctx context.Context, tx pgx.Tx) error {
	rows, _ := tx.Query(ctx, `
		select operation, count(*), count(*) filter (where expires_at > now()), count(*) filter (where expires_at <= now()),
			sum(`+keysTable.size+`)::bigint, min(created_at), max(created_at)
		from idempotency_keys
		where scope = $1
		group by operation
		order by operation collate "C"`, d.Tenant)
	operations, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Operation])
	if err != nil {
		return err
	}
	d.Operations = operations
	for _, operation := range operations {
		d.Keys += operation.Keys
		d.Bytes += operation.Bytes
		if d.NewestCall == nil || operation.NewestCall.After(*d.NewestCall) {
			d.NewestCall = &operation.NewestCall
		}
	}
	return nil
}

// Empty says whether nothing is stored for the tenant.
func (d Detail) Empty() bool { return d.Keys == 0 && d.Projects == 0 }
