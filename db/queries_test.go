package db_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/db"
	"github.com/onceql/onceql/internal/pgtest"
)

// queries are those on the pool that have ample time.
func queries(pool *pgxpool.Pool) *db.Queries { return db.NewQueries(pool, time.Minute, 1000) }

// ask returns what the only column of the only row says, or the error.
func ask(ctx context.Context, conn db.Conn, sql string) (text string, err error) {
	var batch pgx.Batch
	batch.Queue(sql).QueryRow(func(row pgx.Row) error { return row.Scan(&text) })
	err = conn.SendBatch(ctx, &batch).Close()
	return text, err
}

func TestQueries_EndWhatTakesTooLong(t *testing.T) {
	t.Parallel()
	q := db.NewQueries(open(t, pgtest.URL(t), 1, slog.New(slog.DiscardHandler)), 200*time.Millisecond, 10)
	for range 2 {
		err := q.Read(t.Context(), "tenant", func(ctx context.Context, conn db.Conn) error {
			_, err := ask(ctx, conn, `select pg_sleep(60)::text`)
			return err
		})
		if !errors.Is(err, db.ErrSlow) {
			t.Errorf("a slow query: %v, want ErrSlow", err)
		}
		// The connection is as it was.
		err = q.Read(t.Context(), "tenant", func(ctx context.Context, conn db.Conn) error {
			var after string
			inside, err := ask(ctx, conn, `select current_setting('statement_timeout')`)
			if err == nil {
				err = conn.QueryRow(ctx, `select current_setting('statement_timeout')`).Scan(&after)
			}
			if inside != "200ms" || after != "0" {
				t.Errorf("a statement may take %s, and %s after the query, want 200ms and 0", inside, after)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// Not every query that is cancelled took too long.
func TestQueries_TellWhatAnOperatorCancelled(t *testing.T) {
	t.Parallel()
	pool := open(t, pgtest.URL(t), 2, slog.New(slog.DiscardHandler))
	err := queries(pool).Read(t.Context(), "tenant", func(ctx context.Context, conn db.Conn) error {
		_, err := ask(ctx, conn, `select pg_cancel_backend(pg_backend_pid())::text from pg_sleep(0)`)
		return err
	})
	if err == nil || errors.Is(err, db.ErrSlow) || errors.Is(err, db.ErrBusy) {
		t.Errorf("%v, want another error", err)
	}
}

// Who gets no connection gives its turn back.
func TestQueries_KeepNoTurnWithoutAConnection(t *testing.T) {
	t.Parallel()
	const conns = 2
	pool := open(t, pgtest.URL(t), conns, slog.New(slog.DiscardHandler))
	pool.Close()
	q := queries(pool)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for range 2 * conns {
		err := q.Read(ctx, "tenant", func(context.Context, db.Conn) error { return nil })
		if err == nil || errors.Is(err, db.ErrBusy) {
			t.Fatalf("%v, want that there is no connection", err)
		}
	}
}

// A read that panics gives back its turn and its connection.
func TestQueries_SurviveAPanic(t *testing.T) {
	t.Parallel()
	q := queries(open(t, pgtest.URL(t), 1, slog.New(slog.DiscardHandler)))
	for range 3 {
		func() {
			defer func() { _ = recover() }()
			_ = q.Read(t.Context(), "tenant", func(ctx context.Context, conn db.Conn) error {
				if _, err := conn.Exec(ctx, `begin`); err != nil {
					t.Error(err)
				}
				panic("in a query")
			})
		}()
	}
	err := q.Read(t.Context(), "tenant", func(ctx context.Context, conn db.Conn) error {
		_, err := ask(ctx, conn, `select 'a'`)
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// One tenant has three quarters of the connections. Callers who hang up give theirs back
// once Postgres has ended what they asked for, so that they hold up nobody by it.
func TestQueries_ShareTheConnections(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	q := queries(open(t, url, 4, slog.New(slog.DiscardHandler)))
	observer := open(t, url, 1, slog.New(slog.DiscardHandler))
	running := func() (n int) {
		err := observer.QueryRow(t.Context(), `select count(*) from pg_stat_activity
			where datname = current_database() and state = 'active' and query like '%pg_sleep%' and pid <> pg_backend_pid()`).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for range 3 {
		ctx, hangUp := context.WithCancel(t.Context())
		done := make(chan error)
		const calls = 20
		for range calls {
			go func() {
				done <- q.Read(ctx, "a", func(ctx context.Context, conn db.Conn) error {
					_, err := ask(ctx, conn, `select pg_sleep(60)::text`)
					return err
				})
			}()
		}
		for running() < 3 {
			time.Sleep(time.Millisecond)
		}
		for range 10 {
			err := q.Read(t.Context(), "b", func(ctx context.Context, conn db.Conn) error {
				_, err := ask(ctx, conn, `select 'b'`)
				return err
			})
			if err != nil {
				t.Error(err)
			}
		}
		if n := running(); n != 3 {
			t.Errorf("%d queries of one tenant run, want 3", n)
		}
		hangUp()
		for range calls {
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("a caller that hung up is told %v", err)
			}
		}
		for running() > 0 {
			time.Sleep(time.Millisecond)
		}
	}
}
