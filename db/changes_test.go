package db_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/db"
	"github.com/onceql/onceql/internal/pgtest"
)

func TestUpdateProject_ChangesWhatIsGiven(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	tests := map[string]struct {
		change          db.ProjectChange
		wantName        string
		wantDescription *string
		untouched       bool
	}{
		"nothing":                   {db.ProjectChange{}, "name", new("text"), true},
		"the name":                  {db.ProjectChange{Name: new("other")}, "other", new("text"), false},
		"the description":           {db.ProjectChange{Description: new(new("other"))}, "name", new("other"), false},
		"the description to none":   {db.ProjectChange{Description: new((*string)(nil))}, "name", nil, false},
		"the description to empty":  {db.ProjectChange{Description: new(new(""))}, "name", new(""), false},
		"both":                      {db.ProjectChange{Name: new("a"), Description: new(new("b"))}, "a", new("b"), false},
		"both to what they are now": {db.ProjectChange{Name: new("name"), Description: new(new("text"))}, "name", new("text"), true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := create(t, pool, db.Project{Tenant: "a", ID: uuid.New(), Name: "name", Description: new("text")})[0]
			after := change(t, pool, func(tx pgx.Tx) (db.Project, error) {
				return db.UpdateProject(t.Context(), tx, "a", before.ID, test.change)
			})
			want := before
			want.Name, want.Description = test.wantName, test.wantDescription
			if !test.untouched {
				if !after.UpdatedAt.After(before.UpdatedAt) {
					t.Errorf("it was updated at %s, before that at %s", after.UpdatedAt, before.UpdatedAt)
				}
				want.Version, want.UpdatedAt = before.Version+1, after.UpdatedAt
			}
			if diff := cmp.Diff(want, after); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(after, find(t, pool, "a", before.ID)); diff != "" {
				t.Errorf("it is stored otherwise:\n%s", diff)
			}
		})
	}
}

func TestArchiveProject_AndBackTwiceIsOnce(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	before := create(t, pool, db.Project{Tenant: "a", ID: uuid.New(), Name: "x"})[0]
	archive := func(tx pgx.Tx) (db.Project, error) { return db.ArchiveProject(t.Context(), tx, "a", before.ID) }
	first := change(t, pool, archive)
	if first.ArchivedAt == nil || !first.ArchivedAt.After(before.CreatedAt) || !first.UpdatedAt.Equal(*first.ArchivedAt) {
		t.Errorf("archived at %v, updated at %s", first.ArchivedAt, first.UpdatedAt)
	}
	if first.Version != 2 {
		t.Errorf("version %d, want 2", first.Version)
	}
	if diff := cmp.Diff(first, change(t, pool, archive)); diff != "" {
		t.Errorf("archiving it again changed it:\n%s", diff)
	}

	unarchive := func(tx pgx.Tx) (db.Project, error) { return db.UnarchiveProject(t.Context(), tx, "a", before.ID) }
	back := change(t, pool, unarchive)
	want := before
	want.Version, want.UpdatedAt = 3, back.UpdatedAt
	if diff := cmp.Diff(want, back); diff != "" || !back.UpdatedAt.After(first.UpdatedAt) {
		t.Errorf("taken back at %s, archived at %s:\n%s", back.UpdatedAt, first.UpdatedAt, diff)
	}
	if diff := cmp.Diff(back, change(t, pool, unarchive)); diff != "" {
		t.Errorf("taking it back again changed it:\n%s", diff)
	}
}

func TestUpdateProject_OfAnotherVersionChangesNothing(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	before := create(t, pool, db.Project{Tenant: "a", ID: uuid.New(), Name: "x"})[0]
	for name, version := range map[string]int32{"y": 2, "x": 0} {
		err := inTx(t, pool, func(tx pgx.Tx) error {
			_, err := db.UpdateProject(t.Context(), tx, "a", before.ID, db.ProjectChange{Name: &name, IfVersion: &version})
			return err
		})
		var other *db.VersionError
		if !errors.As(err, &other) || other.Current != 1 {
			t.Errorf("version %d: %v, want a VersionError with version 1", version, err)
		}
	}
	if diff := cmp.Diff(before, find(t, pool, "a", before.ID)); diff != "" {
		t.Errorf("it was changed:\n%s", diff)
	}
	after := change(t, pool, func(tx pgx.Tx) (db.Project, error) {
		return db.UpdateProject(t.Context(), tx, "a", before.ID, db.ProjectChange{Name: new("y"), IfVersion: new(int32(1))})
	})
	if after.Version != 2 || after.Name != "y" {
		t.Errorf("of the right version: %+v", after)
	}
}

// Transactions that began in one order may change a project in the other, and a clock may
// be set back.
func TestChanges_NeverGoBackInTime(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	for name, late := range map[string]func(tx pgx.Tx, id uuid.UUID) (db.Project, error){
		"update": func(tx pgx.Tx, id uuid.UUID) (db.Project, error) {
			return db.UpdateProject(t.Context(), tx, "a", id, db.ProjectChange{Name: new("late")})
		},
		"archive": func(tx pgx.Tx, id uuid.UUID) (db.Project, error) { return db.ArchiveProject(t.Context(), tx, "a", id) },
		"unarchive": func(tx pgx.Tx, id uuid.UUID) (db.Project, error) {
			if _, err := db.ArchiveProject(t.Context(), tx, "a", id); err != nil {
				return db.Project{}, err
			}
			return db.UnarchiveProject(t.Context(), tx, "a", id)
		},
	} {
		var last db.Project
		first := create(t, pool, db.Project{Tenant: "a", ID: uuid.New(), Name: "x"})[0]
		in := func(set string) db.Project {
			t.Helper()
			return change(t, pool, func(tx pgx.Tx) (after db.Project, err error) {
				// Now the transaction's time is fixed.
				if _, err := tx.Exec(t.Context(), `select now()`); err != nil {
					return after, err
				}
				last = change(t, pool, func(tx pgx.Tx) (db.Project, error) {
					return db.UpdateProject(t.Context(), tx, "a", first.ID, db.ProjectChange{Name: new(set), Description: new(&set)})
				})
				if set == "clock" {
					last.UpdatedAt = last.UpdatedAt.Add(time.Hour)
					if _, err := pool.Exec(t.Context(), `update projects set updated_at = $1 where id = $2`, last.UpdatedAt, first.ID); err != nil {
						return after, err
					}
				}
				return late(tx, first.ID)
			})
		}
		if after := in("lock"); !after.UpdatedAt.After(last.UpdatedAt) || after.ArchivedAt != nil && !after.ArchivedAt.Equal(after.UpdatedAt) {
			t.Errorf("%s: updated at %s and archived at %v after a change at %s", name, after.UpdatedAt, after.ArchivedAt, last.UpdatedAt)
		}
		first = create(t, pool, db.Project{Tenant: "a", ID: uuid.New(), Name: "x"})[0]
		if after := in("clock"); !after.UpdatedAt.Equal(last.UpdatedAt) || after.ArchivedAt != nil && !after.ArchivedAt.Equal(after.UpdatedAt) {
			t.Errorf("%s: updated at %s and archived at %v after a change at %s", name, after.UpdatedAt, after.ArchivedAt, last.UpdatedAt)
		}
	}
}
