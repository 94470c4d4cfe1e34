package db_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/db"
	"github.com/onceql/onceql/internal/pgtest"
)

func TestCreateProjects_ReturnsThemInOrder(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	// Ids that sort against the order of the rows, and one that two tenants share.
	shared := uuid.MustParse("ffffffff-0000-7000-8000-000000000000")
	rows := []db.Project{
		{Tenant: "b", ID: shared, Name: "last id, first row", Description: new("a description")},
		{Tenant: "a", ID: uuid.Must(uuid.NewV7()), Name: "no description"},
		{Tenant: "a", ID: shared, Name: "the other's id", Description: new("")},
		{Tenant: "", ID: uuid.Must(uuid.NewV7()), Name: "the anonymous tenant's"},
	}
	given := append([]db.Project(nil), rows...)
	created := create(t, pool, rows...)
	for i, project := range created {
		want := rows[i]
		want.Version, want.CreatedAt, want.UpdatedAt = 1, project.CreatedAt, project.CreatedAt
		if diff := cmp.Diff(want, project); diff != "" {
			t.Errorf("project %d:\n%s", i, diff)
		}
		if project.CreatedAt.IsZero() {
			t.Errorf("project %d has no time", i)
		}
		if diff := cmp.Diff(project, find(t, pool, project.Tenant, project.ID)); diff != "" {
			t.Errorf("project %d is stored otherwise:\n%s", i, diff)
		}
	}
	if diff := cmp.Diff(given, rows); diff != "" {
		t.Errorf("it changed the rows it was given:\n%s", diff)
	}
	if none := create(t, pool); len(none) != 0 {
		t.Errorf("no rows became %v", none)
	}
}

func TestCreateProjects_Constraints(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	create(t, pool,
		db.Project{ID: uuid.New(), Name: "x", Description: new(strings.Repeat("ü", 10_000))},
		db.Project{ID: uuid.New(), Name: strings.Repeat("ü", 200)})
	taken := create(t, pool, db.Project{ID: uuid.New(), Name: "taken"})[0]
	for constraint, project := range map[string]db.Project{
		"projects_name_check":        {ID: uuid.New()},
		"projects_name_check ":       {ID: uuid.New(), Name: strings.Repeat("ü", 201)},
		"projects_description_check": {ID: uuid.New(), Name: "x", Description: new(strings.Repeat("ü", 10_001))},
		"projects_pkey":              {ID: taken.ID, Name: "x"},
	} {
		err := inTx(t, pool, func(tx pgx.Tx) error {
			_, err := db.CreateProjects(t.Context(), tx, []db.Project{project})
			return err
		})
		var refusal *pgconn.PgError
		if !errors.As(err, &refusal) || refusal.ConstraintName != strings.TrimSpace(constraint) {
			t.Errorf("%v, want a violation of %s", err, constraint)
		}
	}
}

func TestProjects_AreTheTenantsOwn(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	id := uuid.New()
	project := create(t, pool, db.Project{Tenant: "a", ID: id, Name: "x"})[0]
	for _, tenant := range []string{"", "b", "A", "a "} {
		calls := map[string]func(pgx.Tx) (db.Project, error){
			"find": func(pgx.Tx) (db.Project, error) {
				return db.FindProject(t.Context(), queries(pool), tenant, id, db.Reading{Descriptions: true})
			},
			"update": func(tx pgx.Tx) (db.Project, error) {
				return db.UpdateProject(t.Context(), tx, tenant, id, db.ProjectChange{Name: new("theirs")})
			},
			"archive":   func(tx pgx.Tx) (db.Project, error) { return db.ArchiveProject(t.Context(), tx, tenant, id) },
			"unarchive": func(tx pgx.Tx) (db.Project, error) { return db.UnarchiveProject(t.Context(), tx, tenant, id) },
		}
		for name, call := range calls {
			err := inTx(t, pool, func(tx pgx.Tx) error {
				_, err := call(tx)
				return err
			})
			if !errors.Is(err, db.ErrNotFound) {
				t.Errorf("%q may %s the project: %v", tenant, name, err)
			}
		}
		if list := list(t, pool, tenant, 10, nil, true); len(list) != 0 {
			t.Errorf("%q sees %v", tenant, list)
		}
	}
	if diff := cmp.Diff(project, find(t, pool, "a", id)); diff != "" {
		t.Errorf("another tenant changed it:\n%s", diff)
	}
}

func TestListProjects_PagesHaveEveryProjectOnce(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	// Three transactions: within each, all were created at the same time.
	var want []string
	for _, n := range []int{1, 23, 7} {
		var rows []db.Project
		for range n {
			rows = append(rows, db.Project{Tenant: "a", ID: uuid.New(), Name: "x"}, db.Project{Tenant: "b", ID: uuid.New(), Name: "x"})
		}
		create(t, pool, rows...)
	}
	rows, err := pool.Query(t.Context(), "select id::text from projects where tenant = 'a' order by created_at desc, id desc")
	if err != nil {
		t.Fatal(err)
	}
	if want, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil || len(want) != 31 {
		t.Fatal(len(want), err)
	}
	for _, limit := range []int{1, 2, 5, 30, 31, 32, 100} {
		var got []string
		for after := (*db.ProjectPosition)(nil); ; {
			page := list(t, pool, "a", limit, after, false)
			for _, project := range page {
				got = append(got, project.ID.String())
			}
			if len(page) > limit {
				t.Fatalf("a page of %d has %d", limit, len(page))
			}
			if len(page) < limit {
				break
			}
			last := page[len(page)-1]
			after = &db.ProjectPosition{CreatedAt: last.CreatedAt, ID: last.ID}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("pages of %d:\n%s", limit, diff)
		}
	}
	if none := list(t, pool, "a", 0, nil, false); len(none) != 0 {
		t.Errorf("a page of none has %d", len(none))
	}
}

func TestListProjects_Archived(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	create(t, pool, db.Project{ID: uuid.New(), Name: "first"})
	second := create(t, pool, db.Project{ID: uuid.New(), Name: "second"})[0]
	create(t, pool, db.Project{ID: uuid.New(), Name: "third"})
	change(t, pool, func(tx pgx.Tx) (db.Project, error) { return db.ArchiveProject(t.Context(), tx, "", second.ID) })

	after := &db.ProjectPosition{CreatedAt: second.CreatedAt, ID: second.ID}
	tests := map[string]struct {
		after    *db.ProjectPosition
		archived bool
		want     []string
	}{
		"without":                 {nil, false, []string{"third", "first"}},
		"with":                    {nil, true, []string{"third", "second", "first"}},
		"after an archived one":   {after, false, []string{"first"}},
		"after it, with archived": {after, true, []string{"first"}},
		"after the future":        {&db.ProjectPosition{CreatedAt: time.Now().Add(time.Hour)}, true, []string{"third", "second", "first"}},
	}
	for name, test := range tests {
		var got []string
		for _, project := range list(t, pool, "", 10, test.after, test.archived) {
			got = append(got, project.Name)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

func create(t testing.TB, pool *pgxpool.Pool, rows ...db.Project) (created []db.Project) {
	t.Helper()
	err := inTx(t, pool, func(tx pgx.Tx) (err error) {
		created, err = db.CreateProjects(t.Context(), tx, rows)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return created
}

func change(t testing.TB, pool *pgxpool.Pool, call func(pgx.Tx) (db.Project, error)) (project db.Project) {
	t.Helper()
	err := inTx(t, pool, func(tx pgx.Tx) (err error) {
		project, err = call(tx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func inTx(t testing.TB, pool *pgxpool.Pool, call func(pgx.Tx) error) error {
	t.Helper()
	return pgx.BeginFunc(context.WithoutCancel(t.Context()), pool, call)
}

func find(t testing.TB, pool *pgxpool.Pool, tenant string, id uuid.UUID) db.Project {
	t.Helper()
	project, err := db.FindProject(t.Context(), queries(pool), tenant, id, db.Reading{Descriptions: true})
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func list(t testing.TB, pool *pgxpool.Pool, tenant string, limit int, after *db.ProjectPosition, archived bool) []db.Project {
	t.Helper()
	page, err := db.ListProjects(t.Context(), queries(pool), tenant, db.Page{Limit: limit, After: after, IncludeArchived: archived}, db.Reading{Descriptions: true})
	if err != nil {
		t.Fatal(err)
	}
	return page
}
