package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/bench/postgres"
	"github.com/onceql/onceql/bench/program"
)

// The attackers, by what they have.
const (
	// archivist has 400,000 projects, all of them archived.
	archivist = "archivist"
	// writer has 100 projects with descriptions as long as they may be.
	writer = "writer"
	// reader has 100 projects.
	reader = "reader"
	// owner has one project.
	owner = "owner"
	// nobody has none.
	nobody = "nobody"
)

const hotProject = "01a20a28-0e1d-775f-8861-2020ed7c5ed6"

// fill makes what they have.
var fill = []string{
	`insert into projects (tenant, id, name, created_at, updated_at, archived_at)
	select '` + archivist + `', gen_random_uuid(), 'Archived', now() - n * interval '1 second', now(), now()
	from generate_series(1, 400000) as n`,
	`insert into projects (tenant, id, name, description, created_at, updated_at)
	select '` + writer + `', gen_random_uuid(), 'Long', repeat('x', 10000), now() - n * interval '1 second', now()
	from generate_series(1, 100) as n`,
	`insert into projects (tenant, id, name, created_at, updated_at)
	select '` + reader + `', gen_random_uuid(), 'Short', now() - n * interval '1 second', now()
	from generate_series(1, 100) as n`,
	`insert into projects (tenant, id, name, created_at, updated_at)
	values ('` + owner + `', '` + hotProject + `', 'Hot', now(), now())`,
	`vacuum analyze`,
}

// prepare builds the server and makes a database with what the attackers have. It returns
// the program and the database.
func prepare(ctx context.Context, server *postgres.Server, sources string) (path, database string, err error) {
	path = filepath.Join(server.Work, "onceql")
	if err := program.Build(sources, path); err != nil {
		return "", "", err
	}
	if database, err = postgres.NewDatabase(ctx, server.URL(), "flood"); err != nil {
		return "", "", err
	}
	if err := program.Migrate(path, database); err != nil {
		return "", "", err
	}
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return "", "", err
	}
	defer conn.Close(ctx)
	for _, sql := range fill {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return "", "", fmt.Errorf("filling the database: %w", err)
		}
	}
	return path, database, nil
}
