package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/idempotency"
)

// schema is the engine's own.
var schema = idempotency.Schema

// An item is one call of a batch.
type item = idempotency.Item[input, payload]

// An engine is what is measured, with a batch over all scopes.
type engine struct {
	engine *idempotency.Engine
	batch  *idempotency.Batch[input, payload]
}

// newEngine returns an engine whose calls wait at most as long as wait, and whose
// executions may take twice as long, as by default. Zero means the default.
func newEngine(pool *pgxpool.Pool, wait time.Duration) engine {
	e := idempotency.New(pool, idempotency.Config{Wait: wait, Budget: 2 * wait, PurgeEvery: -1})
	return engine{e, idempotency.NewBatch(e, "note", idempotency.AcrossScopes(), takeNotes)}
}

func (e engine) close(ctx context.Context) error { return e.engine.Close(ctx) }

// note sends the call through the batch.
func (e engine) note(ctx context.Context, tenant string, in input) error {
	_, err := e.batch.Do(ctx, call(tenant, in.Key), in)
	return err
}

// single runs the effect for a call of its own.
func (e engine) single(ctx context.Context, tenant, key string, effect func(context.Context, pgx.Tx) error) error {
	_, err := idempotency.Do(ctx, e.engine, call(tenant, key), func(ctx context.Context, tx pgx.Tx) (payload, error) {
		return payload{Text: key}, effect(ctx, tx)
	})
	return err
}

func call(tenant, key string) idempotency.Call {
	return idempotency.Call{
		Scope: tenant, Key: key, Operation: "note",
		Fingerprint: func(version int16) ([32]byte, bool) { return sha256.Sum256([]byte(key)), version == 1 },
	}
}

// What a caller can hear, by the name in the table.
const (
	done        = "done"
	own         = "its own error"
	panicked    = "the panic"
	unstorable  = "ErrPayload"
	broken      = "ErrTransaction"
	noResult    = "ErrNoResult"
	unavailable = "ErrUnavailable"
	inProgress  = "ErrInProgress"
)

// hears names what the caller is told.
func hears(err error) string {
	var postgres *pgconn.PgError
	switch {
	case err == nil:
		return done
	case errors.Is(err, idempotency.ErrInProgress):
		return inProgress
	case errors.Is(err, idempotency.ErrUnavailable):
		return unavailable
	case errors.Is(err, idempotency.ErrPayload):
		return unstorable
	case errors.Is(err, idempotency.ErrTransaction):
		return broken
	case errors.Is(err, idempotency.ErrNoResult):
		return noResult
	case errors.As(err, new(*idempotency.PanicError)):
		return panicked
	case errors.Is(err, errOwn):
		return own
	case errors.As(err, &postgres):
		return "SQLSTATE " + postgres.Code
	}
	return fmt.Sprintf("%T", err)
}

// retryable says whether who hears it is to send the call again.
func retryable(heard string) bool { return heard == unavailable || heard == inProgress }
