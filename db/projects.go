package db

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ErrNotFound reports a project that the tenant does not have.
var ErrNotFound = errors.New("not found")

// A Project is a row of projects. Its times are the database's.
type Project struct {
	Tenant               string
	ID                   uuid.UUID
	Name                 string
	Description          *string
	CreatedAt, UpdatedAt time.Time
	ArchivedAt           *time.Time
}

const projectColumns = `tenant, id, name, description, created_at, updated_at, archived_at`

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
	// By identity: Postgres does not promise the order of RETURNING.
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

// A ProjectChange says what to change of a project. What is nil stays as it is;
// a Description that points to nil is cleared.
type ProjectChange struct {
	Name        *string
	Description **string
}

// UpdateProject changes the tenant's project and returns it, or ErrNotFound. A
// change that changes nothing leaves UpdatedAt as it is.
func UpdateProject(ctx context.Context, tx pgx.Tx, tenant string, id uuid.UUID, change ProjectChange) (Project, error) {
	var description *string
	if change.Description != nil {
		description = *change.Description
	}
	return project(ctx, tx, `
		update projects
		set name = coalesce($3, name),
			description = case when $4 then $5 else description end,
			updated_at = case
				when (name, description) is distinct from
					(coalesce($3, name), case when $4 then $5 else description end)
				then now() else updated_at end
		where tenant = $1 and id = $2
		returning `+projectColumns, tenant, id, change.Name, change.Description != nil, description)
}

// ArchiveProject archives the tenant's project and returns it, or ErrNotFound.
// One that is archived already stays as it is.
func ArchiveProject(ctx context.Context, tx pgx.Tx, tenant string, id uuid.UUID) (Project, error) {
	return project(ctx, tx, `
		update projects
		set archived_at = coalesce(archived_at, now()),
			updated_at = case when archived_at is null then now() else updated_at end
		where tenant = $1 and id = $2
		returning `+projectColumns, tenant, id)
}

// FindProject returns the tenant's project, or ErrNotFound.
func FindProject(ctx context.Context, pool *pgxpool.Pool, tenant string, id uuid.UUID) (Project, error) {
	found, err := ofTenant(ctx, pool, `
		select `+projectColumns+`
		from projects
		where tenant = $1 and id = $2`, tenant, id)
	if err != nil {
		return Project{}, fmt.Errorf("finding a project: %w", err)
	}
	if len(found) == 0 {
		return Project{}, ErrNotFound
	}
	return found[0], nil
}

// A ProjectPosition is a project's place among the tenant's projects.
type ProjectPosition struct {
	CreatedAt time.Time
	ID        uuid.UUID
}

// ListProjects returns at most limit of the tenant's projects, newest first: those
// after the position, or from the newest when after is nil.
func ListProjects(ctx context.Context, pool *pgxpool.Pool, tenant string, limit int, after *ProjectPosition, includeArchived bool) ([]Project, error) {
	var list []Project
	var err error
	if after == nil {
		list, err = ofTenant(ctx, pool, `
			select `+projectColumns+`
			from projects
			where tenant = $1 and ($2 or archived_at is null)
			order by created_at desc, id desc
			limit $3`, tenant, includeArchived, limit)
	} else {
		list, err = ofTenant(ctx, pool, `
			select `+projectColumns+`
			from projects
			where tenant = $1 and ($2 or archived_at is null) and (created_at, id) < ($4, $5)
			order by created_at desc, id desc
			limit $3`, tenant, includeArchived, limit, after.CreatedAt, after.ID)
	}
	if err != nil {
		return nil, fmt.Errorf("listing projects: %w", err)
	}
	return list, nil
}

// ofTenant returns the projects that the query finds in a transaction of the
// tenant: row-level security shows it no others. A batch is a transaction.
func ofTenant(ctx context.Context, pool *pgxpool.Pool, sql, tenant string, args ...any) ([]Project, error) {
	var found []Project
	var batch pgx.Batch
	batch.Queue(`select set_config('onceql.tenants', array[$1::text]::text, true)`, tenant)
	batch.Queue(sql, append([]any{tenant}, args...)...).Query(func(rows pgx.Rows) (err error) {
		found, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Project])
		return err
	})
	err := pool.SendBatch(ctx, &batch).Close()
	return found, err
}

func project(ctx context.Context, tx pgx.Tx, sql string, args ...any) (Project, error) {
	rows, _ := tx.Query(ctx, sql, args...)
	found, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Project])
	if errors.Is(err, pgx.ErrNoRows) {
		return Project{}, ErrNotFound
	}
	return found, err
}
