package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// executingSQL asks whether a transaction holds the key's lock, and takes none: calls would
// take who asks for one that executes.
const executingSQL = `
	select exists (
		select from pg_locks
		where locktype = 'advisory' and granted and mode = 'ExclusiveLock' and objsubid = 1
		and database = (select oid from pg_database where datname = current_database())
		and (classid::bigint << 32 | objid::bigint) = $1
	)`

// Executing says whether a call with the key executes at this moment, or is looked up.
func (s *Store) Executing(ctx context.Context, key Key) (executing bool, failure *Failure) {
	failure = s.using(ctx, "looking for the key's lock", func(conn *pgx.Conn, _ *statements) error {
		return conn.QueryRow(ctx, executingSQL, key.Lock()).Scan(&executing)
	})
	return executing, failure
}

// Response returns what is stored as the key's result, and false when there is none.
func (s *Store) Response(ctx context.Context, key Key) (response []byte, there bool, failure *Failure) {
	failure = s.using(ctx, lookingUp, func(conn *pgx.Conn, sql *statements) error {
		var batch pgx.Batch
		batch.Queue(scopeSQL, key.Scope)
		batch.Queue(`select response_json from `+sql.table+` where scope = $1 and key = $2`, key.Scope, key.Key).
			QueryRow(func(found pgx.Row) error { return found.Scan(&response) })
		err := conn.SendBatch(ctx, &batch).Close()
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		there = err == nil
		return err
	})
	return response, there, failure
}

// Remove is Forget that has record run in the same transaction, with the row that was there.
func (s *Store) Remove(ctx context.Context, key Key, idle time.Duration, record func(pgx.Tx, Listed) error) (bool, *Failure) {
	return s.forgetting(ctx, key, idle, func(tx pgx.Tx, sql *statements) (bool, error) {
		rows, err := tx.Query(ctx, sql.forget+` returning `+listedColumns, key.Scope, key.Key)
		if err != nil {
			return false, err
		}
		row, err := pgx.CollectExactlyOneRow(rows, scanListed)
		if errors.Is(err, pgx.ErrNoRows) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		return true, record(tx, row)
	})
}

// CountScope returns how many rows the scope has.
func (s *Store) CountScope(ctx context.Context, scope string) (rows int64, failure *Failure) {
	return s.count(ctx, scopeSQL, scope, ` where scope = $1`, scope)
}

const purgingSQL = `select set_config('onceql.purge', $1, true)`

// CountPurgeable returns how many rows a purge would remove now.
func (s *Store) CountPurgeable(ctx context.Context) (rows int64, failure *Failure) {
	return s.count(ctx, purgingSQL, "on", ` where retained_until < now() and expires_at < now()`)
}

func (s *Store) count(ctx context.Context, setting string, value string, where string, args ...any) (rows int64, failure *Failure) {
	failure = s.using(ctx, "counting the keys", func(conn *pgx.Conn, sql *statements) error {
		var batch pgx.Batch
		batch.Queue(setting, value)
		batch.Queue(`select count(*) from `+sql.table+where, args...).QueryRow(func(found pgx.Row) error { return found.Scan(&rows) })
		return conn.SendBatch(ctx, &batch).Close()
	})
	return rows, failure
}

// Now is the database's time.
func (s *Store) Now(ctx context.Context) (now time.Time, failure *Failure) {
	failure = s.using(ctx, "asking for the time", func(conn *pgx.Conn, _ *statements) error {
		return conn.QueryRow(ctx, `select now()`).Scan(&now)
	})
	return now, failure
}

// RemoveScope removes at most limit rows of the scope that were made before, of the keys
// behind after, and has record run in the same transaction with how many. It returns that and
// the last key. One at a time removes rows of a scope, and another one waits.
func (s *Store) RemoveScope(ctx context.Context, scope string, before time.Time, after string, limit int, idle time.Duration, record func(tx pgx.Tx, removed int64) error) (removed int64, last string, failure *Failure) {
	failure = s.using(ctx, "forgetting the keys", func(conn *pgx.Conn, sql *statements) error {
		return pgx.BeginTxFunc(ctx, conn, txOptions, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, forgettingSQL, scope, milliseconds(idle)); err != nil {
				return err
			}
			// No key is empty, so this lock is no key's.
			if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock($1)`, Key{Scope: scope}.Lock()); err != nil {
				return err
			}
			err := tx.QueryRow(ctx, `
				with removed as (
					delete from `+sql.table+`
					where scope = $1 and key in (
						select key from `+sql.table+` where scope = $1 and key > $2 and created_at <= $4 order by key limit $3
					) and created_at <= $4
					returning key
				)
				select count(*), coalesce(max(key), '') from removed`, scope, after, limit, before).Scan(&removed, &last)
			if err != nil || removed == 0 {
				return err
			}
			return record(tx, removed)
		})
	})
	if failure != nil {
		return 0, "", failure
	}
	return removed, last, nil
}
