package main

import (
	"context"
	"math"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// A behaviour is the one bad thing that a bad caller does, over and over.
type behaviour struct {
	name string
	// pause is the most that its caller rests between two calls.
	pause time.Duration
	// when is when the item is refused with errOwn, if it is.
	when moment
	// row is what its note has besides.
	row row
	// act is called after the notes are inserted; nil means nothing.
	act func(context.Context, pgx.Tx, *item) error
	// payload is what its note is answered with.
	payload payload
	// right are the things that its caller may hear.
	right []string
}

// A moment is one within an effect.
type moment int

const (
	never    moment = iota
	early           // Before its first statement.
	late            // After its statements.
	declined        // After the statements of the others, with Decline.
	missed          // It is not answered at all.
)

// outOfTime is what hears a call that can't be done in its time.
var outOfTime = []string{unavailable, inProgress}

var taken = "taken"

// behaviours are one for each way in which a caller can make a batch fail.
var behaviours = []*behaviour{
	{name: "fails early", when: early, right: []string{own}},
	{name: "fails late", when: late, right: []string{own}},
	{name: "declines", when: declined, right: []string{own}},
	{name: "is given no outcome", when: missed, right: []string{noResult}},
	{name: "effect returns an error", act: func(context.Context, pgx.Tx, *item) error { return errOwn }, right: []string{own}},
	{name: "effect panics", act: func(context.Context, pgx.Tx, *item) error { panic("bad") }, right: []string{panicked}},
	{name: "unique violation", row: row{tag: &taken}, right: []string{"SQLSTATE 23505"}},
	{name: "other error of a statement", act: executes(`select 1 / 0`), right: []string{"SQLSTATE 22012"}},
	{name: "deferred constraint", row: row{parent: pgtype.Int8{Int64: 1, Valid: true}}, right: []string{"SQLSTATE 23503"}},
	{name: "waits for a lock", act: executes(`select id from held where id = 1 for update`), right: outOfTime},
	{name: "for update nowait", act: executes(`select id from held where id = 1 for update nowait`), right: outOfTime},
	{name: "statement_timeout of its own", act: executes(`set local statement_timeout = '20ms'`, `select pg_sleep(60)`), right: outOfTime},
	{name: "statement sleeps", act: executes(`select pg_sleep(60)`), right: outOfTime},
	{name: "Go code sleeps 200 ms", act: sleeps, right: []string{done}},
	{name: "serialization failure", act: executes(`do $$ begin raise exception using errcode = '40001'; end $$`), right: outOfTime},
	{name: "locks in an order that deadlocks", act: crosses, pause: 20 * time.Millisecond, right: append([]string{done}, outOfTime...)},
	{name: "closes the connection", act: closes, right: outOfTime},
	{name: "deadline of its own on a statement", act: hurries, right: outOfTime},
	{name: "leaves rows open", act: leavesOpen, right: []string{broken}},
	{name: "makes a temporary table", act: executes(`create temporary table scratch (id int) on commit drop`), right: []string{done}},
	{name: "changes search_path", act: executes(`set local search_path to elsewhere`), right: []string{done}},
	{name: "changes role", act: executes(`set local role neighbour`), right: []string{done}},
	{name: "payload that can't be encoded", payload: payload{Number: math.NaN()}, right: []string{unstorable}},
	{name: "payload that is too large", payload: payload{Text: strings.Repeat("x", 2<<20)}, right: []string{unstorable}},
}

// executes runs the statements.
func executes(statements ...string) func(context.Context, pgx.Tx, *item) error {
	return func(ctx context.Context, tx pgx.Tx, _ *item) error {
		for _, sql := range statements {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
		}
		return nil
	}
}

// sleeps heeds no context.
func sleeps(context.Context, pgx.Tx, *item) error {
	time.Sleep(200 * time.Millisecond)
	return nil
}

// crosses locks two rows, whose order is another for each tenant.
func crosses(ctx context.Context, tx pgx.Tx, it *item) error {
	first, second := 1, 2
	if strings.HasSuffix(it.Scope, "1") {
		first, second = second, first
	}
	for _, id := range []int{first, second} {
		if _, err := tx.Exec(ctx, `update public.shared set n = n + 1 where id = $1`, id); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `select pg_sleep(0.005)`); err != nil {
			return err
		}
	}
	return nil
}

func closes(ctx context.Context, tx pgx.Tx, _ *item) error { return tx.Conn().Close(ctx) }

// hurries has pgx close the connection, as it does when a context ends.
func hurries(ctx context.Context, tx pgx.Tx, _ *item) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Millisecond)
	defer cancel()
	_, err := tx.Exec(ctx, `select pg_sleep(60)`)
	return err
}

func leavesOpen(ctx context.Context, tx pgx.Tx, _ *item) error {
	_, err := tx.Query(ctx, `select generate_series(1, 100000)`) //nolint:sqlclosecheck // Nobody closes it: that is the bad thing.
	return err
}
