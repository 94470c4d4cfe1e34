package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/idempotency"
)

// An engine is one in this program, whose goroutines can be counted: a server does not
// tell how many it has.
type engine struct {
	pool   *pgxpool.Pool
	engine *idempotency.Engine
	over   context.CancelFunc
	calls  sync.WaitGroup
	lives  int
}

func startEngine(ctx context.Context, database string) (*engine, error) {
	config, err := pgxpool.ParseConfig(database)
	if err != nil {
		return nil, err
	}
	config.MaxConns = 10
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	e := &engine{pool: pool}
	e.begin(ctx)
	return e, nil
}

// begin starts an engine and callers of it.
func (e *engine) begin(ctx context.Context) {
	e.lives++
	e.engine = idempotency.New(e.pool, idempotency.Config{TTL: 10 * time.Second, Retention: 15 * time.Second, PurgeEvery: 5 * time.Second})
	batch := idempotency.NewBatch(e.engine, "note", idempotency.WithinScope(),
		func(ctx context.Context, tx pgx.Tx, items []*idempotency.Item[int, int]) error {
			if _, err := tx.Exec(ctx, `insert into notes select from generate_series(1, $1)`, len(items)); err != nil {
				return err
			}
			for _, item := range items {
				item.Succeed(item.Input)
			}
			return nil
		})
	ctx, e.over = context.WithCancel(ctx)
	for caller := range 8 {
		e.calls.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				key := fmt.Sprint(e.lives, "-", caller, "-", n)
				// Calls whose database is interrupted end as they may.
				_, _ = batch.Do(ctx, idempotency.Call{Scope: "soak", Key: key, Fingerprint: func(version int16) ([32]byte, bool) {
					return sha256.Sum256([]byte(key)), version == 1
				}}, n)
				select {
				case <-ctx.Done():
				case <-time.After(200 * time.Millisecond):
				}
			}
		})
	}
}

// end closes the engine, and not its pool.
func (e *engine) end(ctx context.Context) error {
	e.over()
	e.calls.Wait()
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	return e.engine.Close(ctx)
}

func (e *engine) restart(ctx context.Context) error {
	err := e.end(ctx)
	e.begin(ctx)
	return err
}

// stop ends all of it.
func (e *engine) stop(ctx context.Context) error {
	err := e.end(ctx)
	e.pool.Close()
	return errors.Join(err)
}
