package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/db"
	"github.com/onceql/onceql/internal/embeddedpg"
	"github.com/onceql/onceql/migrations"
)

// A database is the PostgreSQL in use, embedded or given.
type database struct {
	url, migrationURL string
	// role is that of url, where it is another than the migrations'.
	role string
	// operator is the operators' role, empty when it is not known, and operatorURL the
	// address for it in the embedded PostgreSQL.
	operator, operatorURL string
	// place tells people where the data is.
	place    string
	embedded *embeddedpg.Server
}

// operatorRole is the operators' in the embedded PostgreSQL.
const operatorRole = "onceql_operator"

// open starts the embedded PostgreSQL unless another database is given.
func (f databaseFlags) open(ctx context.Context) (*database, error) {
	if f.DatabaseURL != "" {
		d := &database{url: f.DatabaseURL, migrationURL: f.DatabaseURL, place: "the PostgreSQL at DATABASE_URL"}
		if f.MigrationDatabaseURL != "" {
			d.migrationURL = f.MigrationDatabaseURL
			if user := db.UserOf(d.url); user != db.UserOf(d.migrationURL) {
				d.role = user
			}
		}
		if f.OperatorDatabaseURL != "" {
			d.operator = db.UserOf(f.OperatorDatabaseURL)
		}
		return d, nil
	}
	dir := cmp.Or(f.DataDir, embeddedpg.DefaultDataDir())
	embedded, err := embeddedpg.Start(ctx, embeddedpg.Config{Dir: dir})
	if err != nil {
		return nil, err
	}
	const role = "onceql"
	url, err := embedded.Role(ctx, role)
	var operatorURL string
	if err == nil {
		operatorURL, err = embeddedpg.StandingRole(ctx, embedded.URL(), operatorRole)
	}
	if err != nil {
		return nil, errors.Join(err, embedded.Stop(context.WithoutCancel(ctx)))
	}
	return &database{
		url:          url,
		migrationURL: embedded.URL(),
		role:         role,
		operator:     operatorRole,
		operatorURL:  operatorURL,
		place:        fmt.Sprintf("%s (embedded PostgreSQL)", dir),
		embedded:     embedded,
	}, nil
}

// migrate brings the database to this build's schema, or finds that it is there.
func (d *database) migrate(ctx context.Context, log *slog.Logger) error {
	err := d.onPrimary(ctx, func(prefer migrations.Option) error {
		return migrations.Up(ctx, d.migrationURL, prefer, migrations.ForRole(d.role), migrations.ForOperator(d.operator), migrations.WithLog(log))
	})
	if errors.Is(err, migrations.ErrRights) {
		return fmt.Errorf("%w: run `onceql migrate up` with DATABASE_URL, and in MIGRATION_DATABASE_URL the tables' owner", err)
	}
	return err
}

// onPrimary calls do with what makes the migrations' connections go to the primary first,
// where the address names several hosts.
func (d *database) onPrimary(ctx context.Context, do func(prefer migrations.Option) error) error {
	cluster, err := db.NewCluster(d.migrationURL, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer cluster.Close(ctx)
	cluster.Find(ctx)
	return do(migrations.WithConfig(cluster.Prefer))
}

// warn says so when the database's last barrier between tenants does not hold the
// role back.
func (d *database) warn(ctx context.Context, pool *pgxpool.Pool, log *slog.Logger) {
	if above, err := db.AboveRowSecurity(ctx, pool); err == nil && above {
		log.Warn("the role of DATABASE_URL is above row-level security: give it a role that is not a superuser, and the migrations theirs in MIGRATION_DATABASE_URL")
	}
}

// lost is closed when an embedded PostgreSQL ended by itself.
func (d *database) lost() <-chan struct{} {
	if d.embedded == nil {
		return nil
	}
	return d.embedded.Done()
}

func (d *database) close(ctx context.Context) {
	if d.embedded == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := d.embedded.Stop(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "onceql: stopping the embedded PostgreSQL:", err)
	}
}

// migrateCommand changes the database's schema apart from the server.
type migrateCommand struct {
	Up     migrateUp     `cmd:"" help:"Apply every pending migration."`
	Status migrateStatus `cmd:"" help:"List the migrations and when they were applied."`
}

type migrateUp struct {
	databaseFlags
	logFlags
}

// Run applies what is pending.
func (c *migrateUp) Run(ctx context.Context) error {
	return c.use(ctx, func(d *database) error {
		if err := d.migrate(ctx, c.logger()); err != nil {
			return err
		}
		return d.printStatus(ctx)
	})
}

type migrateStatus struct{ databaseFlags }

// Run lists the migrations.
func (c *migrateStatus) Run(ctx context.Context) error {
	return c.use(ctx, func(d *database) error { return d.printStatus(ctx) })
}

func (f databaseFlags) use(ctx context.Context, use func(*database) error) error {
	database, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer database.close(context.WithoutCancel(ctx))
	return use(database)
}

func (d *database) printStatus(ctx context.Context) error {
	var list []migrations.Migration
	err := d.onPrimary(ctx, func(prefer migrations.Option) (err error) {
		list, err = migrations.Status(ctx, d.migrationURL, prefer)
		return err
	})
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, migration := range list {
		applied := "pending"
		if !migration.AppliedAt.IsZero() {
			applied = migration.AppliedAt.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(table, "%05d\t%s\t%s\n", migration.Version, migration.Name, applied)
	}
	return table.Flush()
}
