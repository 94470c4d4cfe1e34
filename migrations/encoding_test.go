package migrations_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/internal/pgtest"
	"github.com/onceql/onceql/migrations"
)

func TestUp_LeavesADatabaseOfAnotherEncodingAsItIs(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	address, err := url.Parse(pgtest.NewServer(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(ctx, address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, `create database latin encoding 'LATIN1' locale 'C' template template0`); err != nil {
		t.Fatal(err)
	}
	address.Path = "/latin"
	if err := migrations.Up(ctx, address.String()); err == nil || !strings.Contains(err.Error(), "LATIN1 and has to be UTF8") {
		t.Errorf("error %v, want one that names both encodings", err)
	}
	latin, err := pgx.Connect(ctx, address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer latin.Close(ctx)
	var tables int
	if err := latin.QueryRow(ctx, `select count(*) from pg_tables where schemaname = 'public'`).Scan(&tables); err != nil || tables > 0 {
		t.Errorf("%d tables, error %v, want none", tables, err)
	}
}
