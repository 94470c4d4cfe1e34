//go:build !floor

package db

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// CreateProjects inserts the projects, whose Tenant, ID, Name and Description
// are set, and returns them as they are stored, in the order of rows.
func CreateProjects(ctx context.Context, tx pgx.Tx, rows []Project) ([]Project, error) {
	n := len(rows)
	tenants, ids, names, descriptions := make([]string, n), make([]pgtype.UUID, n), make([]string, n), make([]*string, n)
	for i, row := range rows {
		tenants[i], names[i], descriptions[i] = row.Tenant, row.Name, row.Description
		ids[i] = pgtype.UUID{Bytes: row.ID, Valid: true}
	}
	inserted, _ := tx.Query(ctx, `
		insert into projects (tenant, id, name, description, created_at, updated_at)
		select tenant, id, name, description, now(), now()
		from unnest($1::text[], $2::uuid[], $3::text[], $4::text[]) as rows (tenant, id, name, description)
		returning `+projectColumns, tenants, ids, names, descriptions)
	created, err := pgx.CollectRows(inserted, pgx.RowToStructByPos[Project])
	if err != nil {
		return nil, fmt.Errorf("inserting projects: %w", err)
	}
	// By identity: the order of RETURNING is nobody's promise.
	type identity struct {
		tenant string
		id     uuid.UUID
	}
	stored := make(map[identity]Project, n)
	for _, project := range created {
		stored[identity{project.Tenant, project.ID}] = project
	}
	ordered := make([]Project, n)
	for i, row := range rows {
		ordered[i] = stored[identity{row.Tenant, row.ID}]
	}
	return ordered, nil
}
