package db

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// ErrNotFound reports a project that the tenant does not have.
var ErrNotFound = errors.New("not found")

// A VersionError reports a project that has another version than the one asked for.
type VersionError struct{ Current int32 }

func (e *VersionError) Error() string {
	return fmt.Sprintf("the project has version %d", e.Current)
}

// A Project is a row of projects. Its times are the database's.
type Project struct {
	Tenant               string
	ID                   uuid.UUID
	Version              int32
	Name                 string
	Description          *string
	CreatedAt, UpdatedAt time.Time
	ArchivedAt           *time.Time
}

const projectColumns = `tenant, id, version, name, description, created_at, updated_at, archived_at`

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
	// IfVersion is the only version that may be changed; nil allows any.
	IfVersion *int32
}

// The statements that change a project are for one that lockProject has locked.
//
// A change's time is that of its statement. now() is the transaction's beginning, which
// may be before a change that the lock waited for. The clock may be set back, or be that
// of another host since a failover: then the change has the time of the one before.
// statement_timestamp() is the same throughout the statement, and distributed engines
// take it, where they refuse clock_timestamp().
const (
	changedAt = `greatest(updated_at, statement_timestamp())`
	changed   = `version = version + 1, updated_at = ` + changedAt

	updateSQL = `
		update projects
		set name = $3, description = $4, ` + changed + `
		where tenant = $1 and id = $2
		returning ` + projectColumns
	archiveSQL = `
		update projects
		set archived_at = ` + changedAt + `, ` + changed + `
		where tenant = $1 and id = $2
		returning ` + projectColumns
	unarchiveSQL = `
		update projects
		set archived_at = null, ` + changed + `
		where tenant = $1 and id = $2
		returning ` + projectColumns
)

// UpdateProject changes the tenant's project and returns it, ErrNotFound, or a
// *VersionError. A change that changes nothing leaves Version and UpdatedAt as they are.
func UpdateProject(ctx context.Context, tx pgx.Tx, tenant string, id uuid.UUID, change ProjectChange) (Project, error) {
	before, err := lockProject(ctx, tx, tenant, id)
	if err != nil {
		return Project{}, err
	}
	if change.IfVersion != nil && *change.IfVersion != before.Version {
		return Project{}, &VersionError{before.Version}
	}
	name, description := before.Name, before.Description
	if change.Name != nil {
		name = *change.Name
	}
	if change.Description != nil {
		description = *change.Description
	}
	if name == before.Name && equal(description, before.Description) {
		return before, nil
	}
	return project(ctx, tx, updateSQL, tenant, id, name, description)
}

// ArchiveProject archives the tenant's project and returns it, or ErrNotFound.
// One that is archived already stays as it is.
func ArchiveProject(ctx context.Context, tx pgx.Tx, tenant string, id uuid.UUID) (Project, error) {
	before, err := lockProject(ctx, tx, tenant, id)
	if err != nil || before.ArchivedAt != nil {
		return before, err
	}
	return project(ctx, tx, archiveSQL, tenant, id)
}

// UnarchiveProject takes the tenant's project out of the archive and returns it, or
// ErrNotFound. One that is not archived stays as it is.
func UnarchiveProject(ctx context.Context, tx pgx.Tx, tenant string, id uuid.UUID) (Project, error) {
	before, err := lockProject(ctx, tx, tenant, id)
	if err != nil || before.ArchivedAt == nil {
		return before, err
	}
	return project(ctx, tx, unarchiveSQL, tenant, id)
}

// lockProject returns the tenant's project, or ErrNotFound. Nobody else changes it until
// the transaction ends.
func lockProject(ctx context.Context, tx pgx.Tx, tenant string, id uuid.UUID) (Project, error) {
	return project(ctx, tx, `
		select `+projectColumns+`
		from projects
		where tenant = $1 and id = $2
		for update`, tenant, id)
}

func equal(a, b *string) bool { return a == b || a != nil && b != nil && *a == *b }

// A Reading says what a query reads of projects.
type Reading struct {
	// Descriptions says whether descriptions are read. Those that are not are nil: the
	// database does not even fetch them.
	Descriptions bool
}

// readColumns are projectColumns, for a statement whose third value is Reading.Descriptions.
const readColumns = `tenant, id, version, name, case when $3 then description end, created_at, updated_at, archived_at`

// FindProject returns the tenant's project, or ErrNotFound.
func FindProject(ctx context.Context, queries *Queries, tenant string, id uuid.UUID, reading Reading) (Project, error) {
	found, err := ofTenant(ctx, queries, `
		select `+readColumns+`
		from projects
		where tenant = $1 and id = $2`, tenant, id, reading.Descriptions)
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

// A Page says which projects to list: at most Limit, those after the position, or from the
// newest when After is nil.
type Page struct {
	Limit           int
	After           *ProjectPosition
	IncludeArchived bool
}

// ListProjects returns a page of the tenant's projects, newest first.
func ListProjects(ctx context.Context, queries *Queries, tenant string, page Page, reading Reading) ([]Project, error) {
	args := []any{page.Limit, reading.Descriptions}
	if page.After != nil {
		args = append(args, page.After.CreatedAt, page.After.ID)
	}
	list, err := ofTenant(ctx, queries, listSQL(page.After != nil, page.IncludeArchived), tenant, args...)
	if err != nil {
		return nil, fmt.Errorf("listing projects: %w", err)
	}
	return list, nil
}

// listSQL is one of four statements, so that each is a range of an index: of
// projects_current_idx without archived projects, and of projects_newest_idx with them.
func listSQL(after, includeArchived bool) string {
	sql := `
		select ` + readColumns + `
		from projects
		where tenant = $1`
	if !includeArchived {
		sql += ` and archived_at is null`
	}
	if after {
		sql += ` and (created_at, id) < ($4, $5)`
	}
	return sql + `
		order by created_at desc, id desc
		limit $2`
}

// ofTenant returns the projects that the query finds in a transaction of the
// tenant: row-level security shows it no others. A batch is a transaction.
func ofTenant(ctx context.Context, queries *Queries, sql, tenant string, args ...any) ([]Project, error) {
	var found []Project
	var batch pgx.Batch
	batch.Queue(`select set_config('onceql.tenants', array[$1::text]::text, true)`, tenant)
	batch.Queue(sql, append([]any{tenant}, args...)...).Query(func(rows pgx.Rows) (err error) {
		found, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Project])
		return err
	})
	err := queries.Read(ctx, tenant, func(ctx context.Context, conn Conn) error {
		return conn.SendBatch(ctx, &batch).Close()
	})
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
