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
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

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

// An Option changes how the database is migrated.
type Option func(*options)

type options struct {
	configure func(*pgx.ConnConfig)
	role      string
	operator  string
	log       *slog.Logger
}

// WithConfig has the function change the configuration of each connection.
func WithConfig(configure func(*pgx.ConnConfig)) Option {
	return func(o *options) { o.configure = configure }
}

// ForRole has the role granted what a server needs, and no more than that: it can read
// the schema's version, insert and delete the rows of keys, but not change them, and
// can't alter, drop or truncate a table. An empty role is granted nothing.
func ForRole(role string) Option { return func(o *options) { o.role = role } }

// ForOperator has the role granted what a role for operators needs, and policies of its own:
// it sees the keys and projects of all tenants and can delete them, can't insert or change
// any, and can read the record of what operators did and add to it. Its members can do the
// same. An empty role is granted nothing; Up returns ErrOperator for one that must not be an
// operator's.
func ForOperator(role string) Option { return func(o *options) { o.operator = role } }

// WithLog has the log say when another server migrates and is waited for, and that the
// schema is newer than this build's.
func WithLog(log *slog.Logger) Option { return func(o *options) { o.log = log } }

// Up brings the database at databaseURL to this build's schema. Any number of servers may
// call it at once: one applies what is pending and grants, the others wait, until ctx
// ends, and find nothing left to do. Where there is nothing to do Up only reads, so that a
// role will do that may do no more.
//
// A database that can't store every payload, because its encoding is not UTF8, is left as it
// is, and so is one behind a pooler that does not keep sessions: ErrPooler. Up returns
// ErrRights when something is pending that the URL's role may not do, and ErrNewer when a
// newer build has migrated the database to a schema that this build can't serve.
func Up(ctx context.Context, databaseURL string, with ...Option) error {
	return withProvider(databaseURL, with, func(m *migrator) error {
		found, err := m.inspect(ctx)
		if err != nil {
			return err
		}
		if found.pending == 0 {
			if found.newer {
				m.log.Warn("the database's schema is newer than this build", "schema", found.version, "build", m.version())
			}
			return m.grantAll(ctx)
		}
		if err := m.checkEncoding(ctx); err != nil {
			return err
		}
		err = m.checkSession(ctx)
		if err == nil {
			err = m.locked(ctx, m.prepare)
		}
		if err == nil {
			_, err = m.provider.Up(ctx)
		}
		if state := sqlState(err); state == insufficientPrivilege || state == invalidSchemaName {
			return fmt.Errorf("%w: the role sees migration %d, and this build needs %d", ErrRights, found.version, m.version())
		} else if err != nil {
			return fmt.Errorf("migrating the database: %w", err)
		}
		return m.grantAll(ctx)
	})
}

func (m *migrator) checkEncoding(ctx context.Context) error {
	var encoding string
	if err := m.database.QueryRowContext(ctx, `show server_encoding`).Scan(&encoding); err != nil {
		return fmt.Errorf("reading the database's encoding: %w", err)
	}
	if encoding != "UTF8" {
		return fmt.Errorf("the database's encoding is %s and has to be UTF8", encoding)
	}
	return nil
}

// Status lists every migration of this build, oldest first, and then those of newer builds
// that the database has. It only reads.
func Status(ctx context.Context, databaseURL string, with ...Option) ([]Migration, error) {
	var list []Migration
	err := withProvider(databaseURL, with, func(m *migrator) error {
		applied, err := m.applied(ctx)
		for _, source := range m.provider.ListSources() {
			list = append(list, Migration{Version: source.Version, Name: name(source), AppliedAt: applied[source.Version]})
		}
		for _, version := range slices.Sorted(maps.Keys(applied)) {
			if version > m.version() {
				list = append(list, Migration{Version: version, Name: "of a newer build", AppliedAt: applied[version]})
			}
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

// A migrator is the connections to one database, and what is done there.
type migrator struct {
	options
	database *sql.DB
	provider *goose.Provider
	locker   locker
}

func withProvider(databaseURL string, with []Option, use func(*migrator) error) (err error) {
	m := &migrator{options: options{log: slog.New(slog.DiscardHandler), configure: func(*pgx.ConnConfig) {}}}
	for _, option := range with {
		option(&m.options)
	}
	// The pool's parser also takes what is in the URL for a pool, such as pool_max_conns. To
	// a connection it would be a parameter, which Postgres does not know.
	pool, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return fmt.Errorf("reading the migrations' database URL: %w", err)
	}
	config := pool.ConnConfig
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	m.configure(config)
	m.database = stdlib.OpenDB(*config)
	defer func() { err = errors.Join(err, m.database.Close()) }()
	m.locker = locker{m.log}
	m.provider, err = goose.NewProvider(goose.DialectPostgres, m.database, files,
		goose.WithSessionLocker(m.locker),
		goose.WithDisableGlobalRegistry(true),
		goose.WithGoMigrations(goose.NewGoMigration(
			idempotencyKeysVersion, &goose.GoFunc{RunTx: createIdempotencyKeys}, nil)),
	)
	if err != nil {
		return fmt.Errorf("reading the migrations: %w", err)
	}
	return use(m)
}
