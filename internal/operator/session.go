// Package operator is what people who run the service do to keys: it shows, lists, checks and
// forgets what they did, for all tenants, and keeps a record of what it removes.
package operator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/db"
	"github.com/onceql/onceql/idempotency"
)

// A Session is the keys that a role of the database sees.
type Session struct {
	// Keys are those rows. See is asked first.
	Keys *idempotency.Keys

	cluster *db.Cluster
	pool    *pgxpool.Pool
	rights  rights
}

// rights are what the database says of the role.
type rights struct {
	role string
	// standby says that the server may lag behind the primary.
	standby bool
	// reads and removes are rights to the table of keys, and seesAll says that no policy
	// hides a row of it.
	reads, removes, seesAll bool
	// records says that there is a record of actions, and that the role may add to it.
	recorded, records bool
}

var (
	// ErrRole reports a role that can't see or do what is asked for.
	ErrRole = errors.New("the database's role can't do that")
	// ErrStandby reports a standby that has no row, which the primary may have.
	ErrStandby = errors.New("the database is a standby, which may not have everything yet: ask the primary")
)

// Open connects to the database, and to its primary where the address names several hosts.
func Open(ctx context.Context, address string) (*Session, error) {
	cluster, err := db.NewCluster(address, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	cluster.Find(ctx)
	pool, err := cluster.Open(ctx, 2)
	if err != nil {
		cluster.Close(ctx)
		return nil, err
	}
	s := &Session{Keys: idempotency.OpenKeys(pool), cluster: cluster, pool: pool}
	if err := s.ask(ctx); err != nil {
		s.Close(ctx)
		return nil, fmt.Errorf("asking the database: %w", err)
	}
	return s, nil
}

// Close ends the connections.
func (s *Session) Close(ctx context.Context) {
	s.pool.Close()
	s.cluster.Close(context.WithoutCancel(ctx))
}

func (s *Session) ask(ctx context.Context) error {
	var table bool
	err := s.pool.QueryRow(ctx, `
		select current_user, pg_is_in_recovery(), keys is not null,
			coalesce(has_table_privilege(keys, 'select'), false),
			coalesce(has_table_privilege(keys, 'delete'), false),
			coalesce(not row_security_active(keys) or exists (
				select from pg_policy cross join unnest(polroles) as member
				where polrelid = keys and polname = 'operator_sees' and member <> 0 and pg_has_role(member, 'usage')
			), false),
			actions is not null,
			coalesce(has_column_privilege(actions, 'action', 'insert'), false)
		from (select to_regclass('idempotency_keys'), to_regclass('operator_actions')) as tables (keys, actions)`).
		Scan(&s.rights.role, &s.rights.standby, &table, &s.rights.reads, &s.rights.removes, &s.rights.seesAll, &s.rights.recorded, &s.rights.records)
	if err != nil {
		return err
	}
	if !table {
		return fmt.Errorf("%w: it finds no table idempotency_keys: nothing was migrated, or its rights are missing", ErrRole)
	}
	return nil
}

// See reports ErrRole when the role does not see all rows of the tenant, or of all tenants
// for nil. An answer from such a role would be "there is nothing" for what is only hidden.
func (s *Session) See(tenant *string) error {
	switch {
	case !s.rights.reads:
		return fmt.Errorf("%w: %s may not read the keys: set OPERATOR_DATABASE_URL, and run `onceql migrate up` with it", ErrRole, Text(s.rights.role))
	case tenant == nil && !s.rights.seesAll:
		return fmt.Errorf("%w: %s sees the keys of a tenant that it names, and not those of all: give --tenant, or set OPERATOR_DATABASE_URL", ErrRole, Text(s.rights.role))
	}
	return nil
}

// mayRemove reports ErrRole when the role may not remove rows of the tenant, or not tell of
// it in the record of actions.
func (s *Session) mayRemove(tenant *string) error {
	if err := s.See(tenant); err != nil {
		return err
	}
	switch {
	case !s.rights.removes:
		return fmt.Errorf("%w: %s may not remove keys: set OPERATOR_DATABASE_URL", ErrRole, Text(s.rights.role))
	case !s.rights.records:
		return fmt.Errorf("%w: %s may not record what it removes: set OPERATOR_DATABASE_URL, and run `onceql migrate up` with it", ErrRole, Text(s.rights.role))
	case s.rights.standby:
		return ErrStandby
	}
	return nil
}

// absent is the error of an answer that nothing is there, where that may be wrong.
func (s *Session) absent() error {
	if s.rights.standby {
		return ErrStandby
	}
	return nil
}
