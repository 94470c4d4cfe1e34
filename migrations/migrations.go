// Package migrations brings a database to this build's schema. The migrations
// are numbered, embedded, and applied in order, each in its own transaction.
package migrations

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/onceql/onceql/idempotency"
)

//go:embed *.sql
var files embed.FS

// Migration is one numbered step and whether the database has it.
type Migration struct {
	Version int64
	Name    string
	// AppliedAt is when the database took the step; zero when it is pending.
	AppliedAt time.Time
}

// An Option changes how the database is connected to.
type Option func(*pgx.ConnConfig)

// Up applies every pending migration to the database at databaseURL. It is safe
// to call from several servers at once: one applies, the others wait up to a
// minute and then find nothing left to do.
func Up(ctx context.Context, databaseURL string, options ...Option) error {
	return withProvider(databaseURL, options, func(provider *goose.Provider) error {
		_, err := provider.Up(ctx)
		return err
	})
}

// Grant lets the role work on the tables, and no more than that: it can insert and
// delete the rows of keys, but not change them, and can't alter, drop or truncate a
// table.
func Grant(ctx context.Context, databaseURL, role string, options ...Option) error {
	config, err := configure(databaseURL, options)
	if err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("connecting to grant rights: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	var schema string
	if err := conn.QueryRow(ctx, `select current_schema()`).Scan(&schema); err != nil {
		return fmt.Errorf("granting rights: %w", err)
	}
	name := pgx.Identifier{role}.Sanitize()
	_, err = conn.Exec(ctx, `
		grant usage on schema `+pgx.Identifier{schema}.Sanitize()+` to `+name+`;
		grant select, insert, delete on idempotency_keys to `+name+`;
		grant select, insert, update on projects to `+name)
	if err != nil {
		return fmt.Errorf("granting rights to the role of DATABASE_URL: %w", err)
	}
	return nil
}

// Status lists every migration of this build, oldest first.
func Status(ctx context.Context, databaseURL string, options ...Option) ([]Migration, error) {
	var list []Migration
	err := withProvider(databaseURL, options, func(provider *goose.Provider) error {
		statuses, err := provider.Status(ctx)
		for _, status := range statuses {
			list = append(list, Migration{
				Version:   status.Source.Version,
				Name:      name(status.Source),
				AppliedAt: status.AppliedAt,
			})
		}
		return err
	})
	return list, err
}

// Hash identifies this build's migrations: equal hashes make equal schemas.
func Hash() (string, error) {
	hash := sha256.New()
	_, _ = hash.Write([]byte(idempotency.Schema))
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return "", err
	}
	for _, file := range names {
		text, err := fs.ReadFile(files, file)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(hash, "\n%s %d\n%s", file, len(text), text)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// The first migration is the library's own table, so that its SQL stands once.
const idempotencyKeysVersion = 1

func createIdempotencyKeys(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, idempotency.Schema)
	return err
}

func name(source *goose.Source) string {
	if source.Version == idempotencyKeysVersion {
		return "00001_idempotency_keys"
	}
	return source.Path
}

// connectTimeout is how long one server may take to be connected to, unless the URL says.
const connectTimeout = 5 * time.Second

func configure(databaseURL string, options []Option) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("reading the migrations' database URL: %w", err)
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	for _, option := range options {
		option(config)
	}
	return config, nil
}

func withProvider(databaseURL string, options []Option, use func(*goose.Provider) error) (err error) {
	config, err := configure(databaseURL, options)
	if err != nil {
		return err
	}
	database := stdlib.OpenDB(*config)
	defer func() { err = errors.Join(err, database.Close()) }()

	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 60))
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, database, files,
		goose.WithSessionLocker(locker),
		goose.WithDisableGlobalRegistry(true),
		goose.WithGoMigrations(goose.NewGoMigration(
			idempotencyKeysVersion, &goose.GoFunc{RunTx: createIdempotencyKeys}, nil)),
	)
	if err != nil {
		return fmt.Errorf("reading the migrations: %w", err)
	}
	if err := use(provider); err != nil {
		return fmt.Errorf("migrating the database: %w", err)
	}
	return nil
}
