package graph

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/onceql/onceql/db"
	"github.com/onceql/onceql/graph/model"
	"github.com/onceql/onceql/idempotency/gqlidem"
)

// The lengths are in code points.
const (
	maxName        = 200
	maxDescription = 10_000
)

// projectName returns the name as it is stored: without surrounding white space.
func projectName(name string) (string, error) {
	name = strings.TrimSpace(name)
	if n := utf8.RuneCountInString(name); n < 1 || n > maxName {
		return "", badInput("a project's name has 1 to %d characters, this one has %d", maxName, n)
	}
	if strings.ContainsFunc(name, unicode.IsControl) {
		return "", badInput("a project's name has no control characters")
	}
	return name, nil
}

// newProject is the row that the input asks for.
func newProject(tenant string, input model.CreateProjectInput) (db.Project, error) {
	name, err := projectName(input.Name)
	if err != nil {
		return db.Project{}, err
	}
	if err := checkDescription(input.Description); err != nil {
		return db.Project{}, err
	}
	id, err := uuid.NewV7()
	return db.Project{Tenant: tenant, ID: id, Name: name, Description: input.Description}, err
}

func checkDescription(description *string) error {
	if description == nil {
		return nil
	}
	if n := utf8.RuneCountInString(*description); n > maxDescription {
		return badInput("a project's description has at most %d characters, this one has %d", maxDescription, n)
	}
	if strings.ContainsRune(*description, 0) {
		return badInput("a project's description has no NUL character")
	}
	return nil
}

func projectChange(input model.UpdateProjectInput) (db.ProjectChange, error) {
	change := db.ProjectChange{IfVersion: input.IfVersion}
	if name, set := input.Name.ValueOK(); set {
		if name == nil {
			return change, badInput("a project's name can't be null; leave it out to keep it")
		}
		trimmed, err := projectName(*name)
		if err != nil {
			return change, err
		}
		change.Name = &trimmed
	}
	if description, set := input.Description.ValueOK(); set {
		if err := checkDescription(description); err != nil {
			return change, err
		}
		change.Description = &description
	}
	return change, nil
}

// parseID reads an id in the one form that this API gives out, in any case of
// letters.
func parseID(text string) (uuid.UUID, error) {
	id, err := uuid.Parse(text)
	if err != nil || len(text) != len(uuid.Nil.String()) {
		return uuid.Nil, badInput("an id is a UUID, such as 01890a5d-ac96-774b-bcce-b302099a8057")
	}
	return id, nil
}

func projectError(err error) error {
	if errors.Is(err, db.ErrNotFound) {
		return gqlidem.NewError(CodeNotFound, "there is no project with this id")
	}
	var other *db.VersionError
	if errors.As(err, &other) {
		conflict := gqlidem.NewError(CodeConflict, fmt.Sprintf("the project has version %d, which is not ifVersion; nothing was done", other.Current))
		conflict.Extensions["currentVersion"] = other.Current
		return conflict
	}
	return err
}

// utc makes what is stored and replayed independent of the server's time zone.
func utc(instant *time.Time) *time.Time {
	if instant == nil {
		return nil
	}
	at := instant.UTC()
	return &at
}

func projectModel(p db.Project) *model.Project {
	return &model.Project{
		ID:            p.ID.String(),
		StoredVersion: p.Version,
		Name:          p.Name,
		Description:   p.Description,
		CreatedAt:     p.CreatedAt.UTC(),
		UpdatedAt:     p.UpdatedAt.UTC(),
		ArchivedAt:    utc(p.ArchivedAt),
	}
}
