package idempotency_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/internal/pgtest"
)

// An example's test has no testing.TB; this one stands in for it.
type exampleTB struct {
	testing.TB
	cleanups []func()
}

func (*exampleTB) Helper()                           {}
func (*exampleTB) Failed() bool                      { return false }
func (e *exampleTB) Cleanup(f func())                { e.cleanups = append(e.cleanups, f) }
func (*exampleTB) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (*exampleTB) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// openDatabase opens a new database with the table of Schema and a table of
// orders, and returns what drops it.
func openDatabase(ctx context.Context) (pool *pgxpool.Pool, drop func()) {
	var tb exampleTB
	pool, err := pgxpool.New(ctx, pgtest.URL(&tb))
	must(err)
	_, err = pool.Exec(ctx, `create table orders (id integer generated always as identity, item text not null)`)
	must(err)
	return pool, func() {
		pool.Close()
		for _, f := range tb.cleanups {
			f()
		}
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// An Order is a payload: what the caller is answered, and what is stored.
type Order struct {
	ID   int    `json:"id"`
	Item string `json:"item"`
}

func insertOrder(ctx context.Context, tx pgx.Tx, item string) (Order, error) {
	order := Order{Item: item}
	err := tx.QueryRow(ctx, `insert into orders (item) values ($1) returning id`, item).Scan(&order.ID)
	return order, err
}

// hashOf is the fingerprint of an input, in the one version there is of it.
func hashOf(input any) func(version int16) ([32]byte, bool) {
	return func(version int16) ([32]byte, bool) {
		canonical, err := json.Marshal(input)
		return sha256.Sum256(canonical), version == 1 && err == nil
	}
}

func ExampleDo() {
	ctx := context.Background()
	pool, drop := openDatabase(ctx)
	defer drop()
	engine := idempotency.New(pool, idempotency.Config{})
	defer engine.Close(ctx)

	placeOrder := func(key, item string) {
		outcome, err := idempotency.Do(ctx, engine, idempotency.Call{
			Scope:       "tenant 7",
			Key:         key,
			Operation:   "placeOrder",
			Fingerprint: hashOf(item),
		}, func(ctx context.Context, tx pgx.Tx) (Order, error) {
			return insertOrder(ctx, tx, item)
		})
		switch {
		case errors.Is(err, idempotency.ErrKeyReused):
			fmt.Println("refused:", err)
		case err != nil:
			fmt.Println("failed:", err)
		default:
			fmt.Printf("order %d of %s, replayed: %t\n", outcome.Value.ID, outcome.Value.Item, outcome.Replayed)
		}
	}
	placeOrder("8f14e45f", "tea")
	placeOrder("8f14e45f", "tea") // The answer was lost, so the client sends it again.
	placeOrder("8f14e45f", "coffee")
	placeOrder("c9f0f895", "coffee")
	// Output:
	// order 1 of tea, replayed: false
	// order 1 of tea, replayed: true
	// refused: the idempotency key was used with another payload or another operation
	// order 2 of coffee, replayed: false
}

// An error is forgotten: the same key runs again. A refusal that has to stay one,
// such as that of a card, is a payload.
func ExampleDo_refusal() {
	ctx := context.Background()
	pool, drop := openDatabase(ctx)
	defer drop()
	engine := idempotency.New(pool, idempotency.Config{})
	defer engine.Close(ctx)

	type Payment struct {
		Paid    bool   `json:"paid"`
		Refusal string `json:"refusal,omitempty"`
	}
	balance := 10
	pay := func(amount int) {
		outcome, err := idempotency.Do(ctx, engine, idempotency.Call{
			Scope:       "tenant 7",
			Key:         "45c48cce",
			Operation:   "pay",
			Fingerprint: hashOf(amount),
		}, func(context.Context, pgx.Tx) (Payment, error) {
			if amount > balance {
				return Payment{Refusal: "the card was declined"}, nil
			}
			return Payment{Paid: true}, nil
		})
		must(err)
		fmt.Printf("%+v, replayed: %t\n", outcome.Value, outcome.Replayed)
	}
	pay(20)
	balance = 100
	pay(20)
	// Output:
	// {Paid:false Refusal:the card was declined}, replayed: false
	// {Paid:false Refusal:the card was declined}, replayed: true
}

func ExampleEngine_Lookup() {
	ctx := context.Background()
	pool, drop := openDatabase(ctx)
	defer drop()
	engine := idempotency.New(pool, idempotency.Config{TTL: 24 * time.Hour})
	defer engine.Close(ctx)

	_, err := idempotency.Do(ctx, engine, idempotency.Call{
		Scope:       "tenant 7",
		Key:         "8f14e45f",
		Operation:   "placeOrder",
		RequestID:   "request 1",
		Fingerprint: hashOf("tea"),
	}, func(ctx context.Context, tx pgx.Tx) (Order, error) {
		return insertOrder(ctx, tx, "tea")
	})
	must(err)

	for _, key := range []string{"8f14e45f", "c9f0f895"} {
		execution, found, err := engine.Lookup(ctx, "tenant 7", key)
		must(err)
		if !found {
			fmt.Println(key, "did nothing")
			continue
		}
		fmt.Printf("%s ran %s in %s, replayed for %s\n", execution.Key, execution.Operation,
			execution.RequestID, execution.ExpiresAt.Sub(execution.ExecutedAt))
	}
	// Output:
	// 8f14e45f ran placeOrder in request 1, replayed for 24h0m0s
	// c9f0f895 did nothing
}

// A server that is told to stop lets its calls finish before it ends.
func ExampleEngine_Close() {
	ctx := context.Background()
	pool, drop := openDatabase(ctx)
	defer drop() // The pool is closed after the engine.
	engine := idempotency.New(pool, idempotency.Config{})

	draining, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if err := engine.Close(draining); err != nil {
		fmt.Println("some calls were left behind:", err)
	}
	_, err := idempotency.Do(ctx, engine, idempotency.Call{
		Key:         "8f14e45f",
		Operation:   "placeOrder",
		Fingerprint: hashOf("tea"),
	}, func(ctx context.Context, tx pgx.Tx) (Order, error) {
		return insertOrder(ctx, tx, "tea")
	})
	fmt.Println(errors.Is(err, idempotency.ErrClosed))
	// Output: true
}
