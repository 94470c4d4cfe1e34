package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// scopeSQL makes the transaction one of the scope, for policies that keep scopes apart.
// A batch is a transaction, where it has no other.
const scopeSQL = `select set_config('onceql.tenants', array[$1::text]::text, true)`

// Transactions that hold a lock end by themselves where the server hears nothing more of
// their client, not even that it is gone.
const (
	forgettingSQL = `select set_config('onceql.tenants', array[$1::text]::text, true), set_config('idle_in_transaction_session_timeout', $2, true)`
	lockSQL       = `select pg_try_advisory_xact_lock($1)`
	purgeLockSQL  = `select pg_try_advisory_xact_lock($1) from set_config('onceql.purge', 'on', true) as purge, set_config('idle_in_transaction_session_timeout', $2, true) as idle`
)

// A Querier runs statements on behalf of others: a pool, a connection or a transaction.
type Querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults
}

const lookingUp = "looking the key up"

// Find returns the key's row, without its response, and false when there is none.
func (s *Store) Find(ctx context.Context, key Key) (row Row, there bool, failure *Failure) {
	failure = s.using(ctx, lookingUp, func(conn *pgx.Conn, sql *statements) (err error) {
		row, there, err = infoOf(ctx, conn, sql, key)
		return err
	})
	return row, there, failure
}

// FindOn is Find on what the caller gives.
func (s *Store) FindOn(ctx context.Context, q Querier, key Key) (row Row, there bool, failure *Failure) {
	failure = s.on(ctx, q, lookingUp, func(sql *statements) (err error) {
		row, there, err = infoOf(ctx, q, sql, key)
		return err
	})
	return row, there, failure
}

// UsageOn returns how many rows the scope has, at most so many, and how many bytes their
// responses take.
func (s *Store) UsageOn(ctx context.Context, q Querier, scope string, most int64) (rows, bytes int64, failure *Failure) {
	failure = s.on(ctx, q, "counting the keys", func(sql *statements) error {
		var batch pgx.Batch
		batch.Queue(scopeSQL, scope)
		batch.Queue(sql.usage, scope, most).QueryRow(func(found pgx.Row) error { return found.Scan(&rows, &bytes) })
		return q.SendBatch(ctx, &batch).Close()
	})
	return rows, bytes, failure
}

// on runs statements on what the caller gives. What that reaches is not what the pool's
// connections reach, so it is not kept.
func (s *Store) on(ctx context.Context, q Querier, doing string, use func(*statements) error) *Failure {
	sql, err := s.sql.Load(), error(nil)
	if sql == nil {
		sql, err = reachedBy(ctx, q)
	}
	if err == nil {
		err = use(sql)
	}
	if err != nil {
		return s.asking(fmt.Errorf("%s: %w", doing, err))
	}
	return nil
}

func infoOf(ctx context.Context, q Querier, sql *statements, key Key) (Row, bool, error) {
	row := Row{Key: key}
	var batch pgx.Batch
	batch.Queue(scopeSQL, key.Scope)
	batch.Queue(sql.info, key.Scope, key.Key).QueryRow(func(found pgx.Row) error {
		return found.Scan(&row.Operation, &row.RequestID, &row.Trace, &row.CreatedAt, &row.ExpiresAt, &row.RetainedUntil, &row.Expired)
	})
	err := q.SendBatch(ctx, &batch).Close()
	if errors.Is(err, pgx.ErrNoRows) {
		return Row{}, false, nil
	}
	return row, err == nil, err
}

// ErrBusy reports a key whose lock is another transaction's.
var ErrBusy = errors.New("the key is executed at this moment")

// Forget removes the key's row, and says whether there was one. When the key's lock is
// another transaction's, the failure is ErrBusy, and there says whether there is a row. The
// transaction is idle for no longer than idle.
func (s *Store) Forget(ctx context.Context, key Key, idle time.Duration) (bool, *Failure) {
	return s.forgetting(ctx, key, idle, func(tx pgx.Tx, sql *statements) (bool, error) {
		tag, err := tx.Exec(ctx, sql.forget, key.Scope, key.Key)
		return tag.RowsAffected() > 0, err
	})
}

// forgetting has the key's row removed in a transaction that holds its lock.
func (s *Store) forgetting(ctx context.Context, key Key, idle time.Duration, remove func(pgx.Tx, *statements) (bool, error)) (there bool, failure *Failure) {
	busy := false
	failure = s.using(ctx, "forgetting the key", func(conn *pgx.Conn, sql *statements) error {
		return pgx.BeginTxFunc(ctx, conn, txOptions, func(tx pgx.Tx) (err error) {
			var locked bool
			if _, err := tx.Exec(ctx, forgettingSQL, key.Scope, milliseconds(idle)); err != nil {
				return err
			}
			if err := tx.QueryRow(ctx, lockSQL, key.Lock()).Scan(&locked); err != nil {
				return err
			}
			if busy = !locked; busy {
				return tx.QueryRow(ctx, sql.exists, key.Scope, key.Key).Scan(&there)
			}
			there, err = remove(tx, sql)
			return err
		})
	})
	if failure == nil && busy {
		failure = &Failure{Race, ErrBusy}
	}
	return there, failure
}

// PurgeLock is the advisory lock of the server that purges.
var PurgeLock = Key{Scope: "purge"}.Lock()

// Purge removes at most limit rows whose replays and whose retention are over, and
// returns how many, and until when the newest was retained. It begins with rows that
// were retained until oldest: from the start it would pass over all that the last batch
// removed and that is not vacuumed yet. While another server purges it removes nothing.
// The transaction is idle for no longer than idle.
func (s *Store) Purge(ctx context.Context, limit int, oldest *time.Time, idle time.Duration) (int64, *time.Time, *Failure) {
	for attempt := 1; ; attempt++ {
		removed, newest, failure := s.purge(ctx, limit, oldest, idle)
		// Whoever removes rows of a scope takes them in another order, and Postgres ends one
		// of the two.
		if failure == nil || class(code(failure.Err)) != "40" || attempt == purgeTimes {
			return removed, newest, failure
		}
	}
}

// purgeTimes is how often the purge of some rows is tried that had a conflict.
const purgeTimes = 5

func (s *Store) purge(ctx context.Context, limit int, oldest *time.Time, idle time.Duration) (removed int64, newest *time.Time, failure *Failure) {
	failure = s.using(ctx, "purging", func(conn *pgx.Conn, sql *statements) error {
		return pgx.BeginTxFunc(ctx, conn, txOptions, func(tx pgx.Tx) error {
			var locked bool
			if err := tx.QueryRow(ctx, purgeLockSQL, PurgeLock, milliseconds(idle)).Scan(&locked); err != nil || !locked {
				return err
			}
			return tx.QueryRow(ctx, sql.purge, oldest, limit).Scan(&removed, &newest)
		})
	})
	if failure != nil {
		return 0, nil, failure
	}
	return removed, newest, nil
}

// using runs statements that have nothing to do with an effect on a connection.
func (s *Store) using(ctx context.Context, doing string, use func(*pgx.Conn, *statements) error) *Failure {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return &Failure{Database, fmt.Errorf("%s: %s: %w", doing, connecting, err)}
	}
	defer conn.Release()
	sql := s.sql.Load()
	if sql == nil {
		sql, err = s.resolve(ctx, conn.Conn())
	}
	if err == nil {
		err = use(conn.Conn(), sql)
	}
	if err != nil {
		return s.claiming(ctx, conn.Conn(), doing, err)
	}
	return nil
}

var errStandby = errors.New("the server is a standby: an address with several hosts needs target_session_attrs=read-write")

// Check reports what of the database does not fit: its role as a primary, its encoding,
// the table with its columns and primary key, and the rights on it.
func (s *Store) Check(ctx context.Context) *Failure {
	s.sql.Store(nil)
	return s.using(ctx, "checking the table", func(conn *pgx.Conn, sql *statements) error {
		var standby bool
		var encoding string
		var missing, rights []string
		var key string
		err := conn.QueryRow(ctx, checkSQL, sql.table, used).Scan(&standby, &encoding, &missing, &rights, &key)
		if err != nil {
			return err
		}
		if standby {
			return errStandby
		}
		var faults []error
		if encoding != "UTF8" {
			faults = append(faults, fmt.Errorf("the database's encoding is %s and has to be UTF8", encoding))
		}
		for _, name := range missing {
			faults = append(faults, fmt.Errorf("the table %s has no column %s", sql.table, name))
		}
		for _, name := range rights {
			faults = append(faults, fmt.Errorf("the role has no right to %s on %s", name, sql.table))
		}
		if key != "scope, key" {
			faults = append(faults, fmt.Errorf("the primary key of %s is not (scope, key) but (%s)", sql.table, key))
		}
		if faults != nil {
			return unfit{errors.Join(faults...)}
		}
		return nil
	})
}

const checkSQL = `
	select pg_is_in_recovery(),
		current_setting('server_encoding'),
		array(
			select wanted.name
			from unnest($2::text[]) with ordinality as wanted (name, n)
			where not exists (select from pg_attribute where attrelid = $1::text::regclass and attname = wanted.name and not attisdropped)
			order by n
		),
		array(
			select wanted.name
			from unnest('{select,insert,delete}'::text[]) with ordinality as wanted (name, n)
			where not has_table_privilege($1, wanted.name)
			order by n
		),
		(
			select coalesce(string_agg(attname, ', ' order by n), '')
			from pg_index
			cross join unnest(indkey) with ordinality as parts (attnum, n)
			join pg_attribute on attrelid = indrelid and pg_attribute.attnum = parts.attnum
			where indrelid = $1::text::regclass and indisprimary
		)`

// used are the columns that the statements use.
var used = []string{
	"scope", "key", "operation", "request_hash", "hash_version", "response_json",
	"request_id", "execution_id", "trace_id", "created_at", "expires_at", "retained_until",
}

// unfit is a database that Check found faults with.
type unfit struct{ error }

func (u unfit) Unwrap() error { return u.error }
