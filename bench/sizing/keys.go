package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/idempotency"
)

// stored measures what a key takes of the disk.
func (m *measuring) stored(ctx context.Context) error {
	for _, payload := range []int{200, 2000} {
		if err := m.fill(ctx, payload); err != nil {
			return err
		}
		table, err := m.number(ctx, `select pg_table_size('idempotency_keys')`)
		if err != nil {
			return err
		}
		indexes, err := m.number(ctx, `select pg_indexes_size('idempotency_keys')`)
		if err != nil {
			return err
		}
		m.row(fmt.Sprintf("a stored key with a payload of %d bytes", payload), "%.0f bytes, and %.0f in indexes",
			table/float64(m.keys), indexes/float64(m.keys))
	}
	return nil
}

// fill stores keys whose retention is over, and nothing else. The payload is a text that
// does not get much smaller by compression.
func (m *measuring) fill(ctx context.Context, payload int) error {
	for _, sql := range []string{
		`truncate idempotency_keys`,
		fmt.Sprintf(`insert into idempotency_keys (scope, key, operation, request_hash, hash_version, response_json, request_id, execution_id,
				created_at, expires_at, retained_until)
			select '', gen_random_uuid(), 'createProject', sha256(n::text::bytea), 1,
				to_json(left((select string_agg(md5(n::text || i), '') from generate_series(1, %d) as i), %d)),
				gen_random_uuid(), gen_random_uuid(), now() - interval '80 h', now() - interval '56 h', now() - interval '8 h' + n * interval '1 ms'
			from generate_series(1, %d) as n`, payload/32+1, payload, m.keys),
		`vacuum analyze idempotency_keys`,
		`checkpoint`,
	} {
		if _, err := m.conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// purges measures how fast keys are removed, and what becomes of it while something holds
// their dead rows.
func (m *measuring) purges(ctx context.Context) error {
	pool, err := pgxpool.New(ctx, m.owner)
	if err != nil {
		return err
	}
	defer pool.Close()
	engine := idempotency.New(pool, idempotency.Config{PurgeEvery: -1})
	defer func() { _ = engine.Close(ctx) }()

	for _, pinned := range []bool{false, true} {
		if err := m.fill(ctx, 200); err != nil {
			return err
		}
		what := "nothing holds"
		var pin pgx.Tx
		if pinned {
			what = "an old transaction holds"
			if pin, err = m.pin(ctx); err != nil {
				return err
			}
		}
		began := time.Now()
		removed, err := engine.Purge(ctx)
		if err != nil {
			return err
		}
		took := time.Since(began)
		if _, err := m.conn.Exec(ctx, `vacuum idempotency_keys`); err != nil {
			return err
		}
		began = time.Now()
		if _, err := engine.Purge(ctx); err != nil {
			return err
		}
		again := time.Since(began)
		table, err := m.number(ctx, `select pg_total_relation_size('idempotency_keys')`)
		if err != nil {
			return err
		}
		lookup, err := median(func() error {
			_, _, err := engine.Lookup(ctx, "", "never")
			return err
		})
		if err != nil {
			return err
		}
		m.row(fmt.Sprintf("a purge of %d keys, whose dead rows %s", removed, what),
			"%.0f keys/s; after a vacuum %.0f MB; the next purge %.0f ms; a look-up %.2f ms",
			float64(removed)/took.Seconds(), table/1e6, again.Seconds()*1000, lookup.Seconds()*1000)
		if pin != nil {
			if err := pin.Rollback(ctx); err != nil {
				return err
			}
			if err := pin.Conn().Close(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// pin begins a transaction that may look at all that is there now.
func (m *measuring) pin(ctx context.Context) (pgx.Tx, error) {
	conn, err := pgx.Connect(ctx, m.owner)
	if err != nil {
		return nil, err
	}
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		return nil, err
	}
	_, err = tx.Exec(ctx, `select 1`)
	return tx, err
}

// median is how long do takes.
func median(do func() error) (time.Duration, error) {
	var took []time.Duration
	for range 101 {
		began := time.Now()
		if err := do(); err != nil {
			return 0, err
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}
