package graph

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/db"
	"github.com/onceql/onceql/graph/generated"
	"github.com/onceql/onceql/graph/model"
	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/idempotency/gqlidem"
	"github.com/onceql/onceql/internal/quota"
	"github.com/onceql/onceql/internal/telemetry"
)

// Resolver resolves the fields of Query and Mutation.
type Resolver struct {
	// RefuseIfVersion refuses ifVersion where a call would execute: for as long as a build
	// may run whose changes raise no version.
	RefuseIfVersion bool
	// Ended is told of each keyed call when it ends; nil means that nobody is. Set it
	// before the first request.
	Ended telemetry.Ended
	// May says whether the caller's token has the scope, for fields of which not everyone
	// sees all; nil means that it has each.
	May func(ctx context.Context, scope string) bool

	once    *gqlidem.Once
	engine  *idempotency.Engine
	queries *db.Queries
	tenant  func(context.Context) (string, error)
	quota   *quota.Stored // Nil without one.

	createProject *gqlidem.Batch[model.CreateProjectInput, *model.CreateProjectPayload]
}

// NewResolver returns a resolver whose mutations run through once and its engine,
// whose queries read through queries, for the tenant of each request.
func NewResolver(once *gqlidem.Once, engine *idempotency.Engine, queries *db.Queries, tenant func(context.Context) (string, error)) *Resolver {
	r := &Resolver{once: once, engine: engine, queries: queries, tenant: tenant}
	r.createProject = gqlidem.NewBatch(once, "createProject", idempotency.AcrossScopes(), r.createProjects)
	return r
}

// Query returns the resolver of the root fields of queries.
func (r *Resolver) Query() generated.QueryResolver { return queries{r} }

// Mutation returns the resolver of the root fields of mutations.
func (r *Resolver) Mutation() generated.MutationResolver { return mutations{r} }

type mutations struct{ *Resolver }

// CreateProject resolves Mutation.createProject.
func (r mutations) CreateProject(ctx context.Context, input model.CreateProjectInput, _ string) (*model.CreateProjectPayload, error) {
	return counted(ctx, r.Resolver, func() (idempotency.Outcome[*model.CreateProjectPayload], error) {
		return r.createProject.DoOutcome(ctx, input)
	})
}

type projectItem = idempotency.Item[model.CreateProjectInput, *model.CreateProjectPayload]

// createProjects creates the projects of a batch in one statement.
func (r *Resolver) createProjects(ctx context.Context, tx pgx.Tx, items []*projectItem) error {
	rows := make([]db.Project, 0, len(items))
	accepted := make([]*projectItem, 0, len(items))
	for _, item := range items {
		if err := r.withinQuota(item.Scope); err != nil {
			item.Decline(err)
			continue
		}
		row, err := newProject(item.Scope, item.Input)
		if err != nil {
			item.Fail(err)
			continue
		}
		rows, accepted = append(rows, row), append(accepted, item)
	}
	if len(rows) == 0 {
		return nil
	}
	created, err := db.CreateProjects(ctx, tx, rows)
	if err != nil {
		return err
	}
	for i, item := range accepted {
		item.Succeed(&model.CreateProjectPayload{Project: projectModel(created[i])})
	}
	return nil
}

// UpdateProject resolves Mutation.updateProject.
func (r mutations) UpdateProject(ctx context.Context, input model.UpdateProjectInput, _ string) (*model.UpdateProjectPayload, error) {
	return do(ctx, r.Resolver, func(ctx context.Context, tx pgx.Tx) (*model.UpdateProjectPayload, error) {
		if input.IfVersion != nil && r.RefuseIfVersion {
			return nil, badInput("ifVersion is not accepted for now: a build of the server that raises no versions may still run")
		}
		tenant, id, err := r.subject(ctx, input.ID)
		if err != nil {
			return nil, err
		}
		change, err := projectChange(input)
		if err != nil {
			return nil, err
		}
		updated, err := db.UpdateProject(ctx, tx, tenant, id, change)
		if err != nil {
			return nil, projectError(err)
		}
		return &model.UpdateProjectPayload{Project: projectModel(updated)}, nil
	})
}

// ArchiveProject resolves Mutation.archiveProject.
func (r mutations) ArchiveProject(ctx context.Context, input model.ArchiveProjectInput, _ string) (*model.ArchiveProjectPayload, error) {
	return do(ctx, r.Resolver, func(ctx context.Context, tx pgx.Tx) (*model.ArchiveProjectPayload, error) {
		tenant, id, err := r.subject(ctx, input.ID)
		if err != nil {
			return nil, err
		}
		archived, err := db.ArchiveProject(ctx, tx, tenant, id)
		if err != nil {
			return nil, projectError(err)
		}
		return &model.ArchiveProjectPayload{Project: projectModel(archived)}, nil
	})
}

// UnarchiveProject resolves Mutation.unarchiveProject.
func (r mutations) UnarchiveProject(ctx context.Context, input model.UnarchiveProjectInput, _ string) (*model.UnarchiveProjectPayload, error) {
	return do(ctx, r.Resolver, func(ctx context.Context, tx pgx.Tx) (*model.UnarchiveProjectPayload, error) {
		tenant, id, err := r.subject(ctx, input.ID)
		if err != nil {
			return nil, err
		}
		unarchived, err := db.UnarchiveProject(ctx, tx, tenant, id)
		if err != nil {
			return nil, projectError(err)
		}
		return &model.UnarchiveProjectPayload{Project: projectModel(unarchived)}, nil
	})
}

// subject returns the tenant of the request and the project that it names.
func (r *Resolver) subject(ctx context.Context, id string) (string, uuid.UUID, error) {
	tenant, err := r.tenant(ctx)
	if err != nil {
		return "", uuid.Nil, err
	}
	projectID, err := parseID(id)
	return tenant, projectID, err
}

type queries struct{ *Resolver }

// Project resolves Query.project.
func (r queries) Project(ctx context.Context, id string) (*model.Project, error) {
	tenant, projectID, err := r.subject(ctx, id)
	if err != nil {
		return nil, err
	}
	selected, err := reserve(ctx)
	if err != nil {
		return nil, queryError(err)
	}
	found, err := db.FindProject(ctx, r.queries, tenant, projectID, selected.reading())
	if errors.Is(err, db.ErrNotFound) {
		return nil, nil
	}
	if err == nil {
		err = selected.read(ctx, found)
	}
	if err != nil {
		return nil, queryError(err)
	}
	return projectModel(found), nil
}

// Projects resolves Query.projects.
func (r queries) Projects(ctx context.Context, first int32, after *string, includeArchived bool) (*model.ProjectConnection, error) {
	tenant, err := r.tenant(ctx)
	if err != nil {
		return nil, err
	}
	if first < 1 || first > maxPage {
		return nil, badInput("first is between 1 and %d", maxPage)
	}
	page := db.Page{Limit: int(first) + 1, IncludeArchived: includeArchived}
	if after != nil {
		if page.After, err = parseCursor(*after); err != nil {
			return nil, err
		}
	}
	selected, err := reserve(ctx)
	if err != nil {
		return nil, queryError(err)
	}
	found, err := db.ListProjects(ctx, r.queries, tenant, page, selected.reading())
	if err == nil {
		err = selected.read(ctx, found[:min(int(first), len(found))]...)
	}
	if err != nil {
		return nil, queryError(err)
	}
	return connection(found, int(first), page.After != nil), nil
}
