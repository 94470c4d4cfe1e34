package world_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/idempotency/internal/sim"
)

// An input is what a request asks for, and a result what it is answered.
type (
	input struct {
		scope, key string
		attempt    int
		payload    int
		kind       kind
	}
	result struct {
		Scope, Key       string
		Attempt, Payload int
		// Effect is the id of the row that was inserted.
		Effect int64
	}
)

// operation is the name of both ways to do it, so that a key may come in either.
const operation = "do"

var errRefused = errors.New("refused by the effect")

// call is the request for the input.
func call(in input) idempotency.Call {
	return idempotency.Call{
		Scope: in.scope, Key: in.key, Operation: operation, RequestID: strconv.Itoa(in.attempt),
		Fingerprint: func(version int16) ([32]byte, bool) {
			return sha256.Sum256(fmt.Appendf(nil, "%d %d %v", version, in.payload, in.kind)), version == 1 || version == 2
		},
	}
}

// runSingle is the effect of a call by itself.
func runSingle(ctx context.Context, tx pgx.Tx, in input) (result, error) {
	if in.kind == fail {
		return result{}, errRefused
	}
	stored, err := insert(ctx, tx, []input{in})
	if err != nil {
		return result{}, err
	}
	if err := misbehave(ctx, tx, in); err != nil {
		return result{}, err
	}
	return stored[in.scope+"/"+in.key], nil
}

// runBatch is the effect of many.
func runBatch(ctx context.Context, tx pgx.Tx, items []*idempotency.Item[input, result]) error {
	var accepted []*idempotency.Item[input, result]
	var inputs []input
	for _, item := range items {
		if item.Input.kind == fail {
			item.Fail(errRefused)
			continue
		}
		accepted, inputs = append(accepted, item), append(inputs, item.Input)
	}
	stored, err := insert(ctx, tx, inputs)
	if err != nil {
		return err
	}
	for _, item := range accepted {
		switch err := misbehave(ctx, tx, item.Input); {
		case errors.Is(err, errRefused):
			item.Fail(err)
		case err != nil:
			return err
		default:
			item.Succeed(stored[item.Scope+"/"+item.Key])
		}
	}
	return nil
}

// insert writes a row for each input, and returns what was stored by what it is for:
// nothing promises the order in which RETURNING gives rows back.
func insert(ctx context.Context, tx pgx.Tx, inputs []input) (map[string]result, error) {
	if len(inputs) == 0 {
		return nil, nil
	}
	var scopes, keys []string
	var attempts []int64
	stored := map[string]result{}
	for _, in := range inputs {
		attempt := in.attempt
		if in.kind == immediate {
			attempt = -1 // It violates a constraint.
		}
		scopes, keys, attempts = append(scopes, in.scope), append(keys, in.key), append(attempts, int64(attempt))
		stored[in.scope+"/"+in.key] = result{Scope: in.scope, Key: in.key, Attempt: in.attempt, Payload: in.payload}
	}
	rows, err := tx.Query(ctx, sim.Statements["effects"], scopes, keys, attempts)
	if err != nil {
		return nil, err
	}
	var scope, key string
	var id int64
	_, err = pgx.ForEachRow(rows, []any{&scope, &key, &id}, func() error {
		r := stored[scope+"/"+key]
		r.Effect = id
		stored[scope+"/"+key] = r
		return nil
	})
	return stored, err
}

// misbehave does what the kind of call does besides.
func misbehave(ctx context.Context, tx pgx.Tx, in input) error {
	var err error
	switch in.kind {
	case failLate:
		return errRefused
	case deferred:
		_, err = tx.Exec(ctx, sim.Statements["mark"], int64(404))
	case rowLock:
		_, err = tx.Exec(ctx, sim.Statements["count"], int64(1))
	case slow:
		_, err = tx.Exec(ctx, sim.Statements["sleep"], 0.7)
	case panics:
		panic("a call that panics")
	}
	return err
}
