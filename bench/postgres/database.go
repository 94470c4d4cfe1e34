package postgres

import (
	"context"
	"net/url"

	"github.com/jackc/pgx/v5"
)

// NewDatabase makes an empty database on the server that is at the URL, and returns the
// database's, as its owner.
func NewDatabase(ctx context.Context, server, name string) (string, error) {
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, `
		do $$ begin
			create role bench login password 'bench';
		exception when duplicate_object then null;
		end $$`); err != nil {
		return "", err
	}
	if _, err := conn.Exec(ctx, "create database "+pgx.Identifier{name}.Sanitize()); err != nil {
		return "", err
	}
	address, err := url.Parse(server)
	if err != nil {
		return "", err
	}
	address.Path = "/" + name
	return address.String(), nil
}

// AsRole returns the database's URL for a role that row-level security holds back, as
// OnceQL's own should be.
func AsRole(database string) string {
	address, err := url.Parse(database)
	if err != nil {
		return database
	}
	address.User = url.UserPassword("bench", "bench")
	return address.String()
}
