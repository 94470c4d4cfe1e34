// Package audit compares what callers heard with what the database has: effects, rows of
// keys, and rows of keys that were removed. Triggers note the effects and the removals in
// the same transaction.
package audit

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/chaos/history"
)

var install = []string{
	`create schema audit`,
	`create table audit.effects (id uuid not null, name text not null)`,
	`create table audit.removed (key text not null, id text not null, name text not null, early boolean not null)`,
	`create function audit.effect() returns trigger language plpgsql security definer set search_path = audit as
		$$ begin insert into effects values (new.id, new.name); return null; end $$`,
	`create function audit.removal() returns trigger language plpgsql security definer set search_path = audit as $$ begin
		insert into removed values (old.key, old.response_json->'project'->>'id', old.response_json->'project'->>'name',
			greatest(old.retained_until, old.expires_at) >= now());
		return null; end $$`,
	`create trigger effect after insert or update on projects for each row execute function audit.effect()`,
	`create trigger removal after delete on idempotency_keys for each row execute function audit.removal()`,
}

// Install makes the triggers, in a migrated database, and projects of those ids, which
// calls may change.
func Install(ctx context.Context, conn *pgx.Conn, ids []string) error {
	if _, err := conn.Exec(ctx, `
		insert into projects (tenant, id, name, created_at, updated_at)
		select '', id, 'to be changed', now(), now() from unnest($1::uuid[]) as ids (id)`, ids); err != nil {
		return fmt.Errorf("making projects: %w", err)
	}
	for _, sql := range install {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// Clear forgets what was compared, so that the database stays small.
func Clear(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `
		begin;
		truncate audit.effects, audit.removed, idempotency_keys;
		delete from projects where name like '%/create%';
		commit`)
	return err
}

// A row is one of a key, there or removed.
type row struct {
	key, id, name string
	// removed says that it is not there any more, and early that its retention was not
	// over then, by the database's clock.
	removed, early bool
	// ttl and retention are how long it is replayed and kept.
	ttl, retention time.Duration
}

// variant is that of the payload.
func (r row) variant() string { return variantOf(r.name) }

// Name is that of the project that a call with the key and the variant makes, or changes
// a project's name to. The key stands in it backwards, so that names sort otherwise than
// keys: whoever takes one's values for another's by their order is found out.
func Name(key, variant string) string { return backwards(key) + "/" + variant }

func variantOf(name string) string {
	_, variant, _ := strings.Cut(name, "/")
	return variant
}

func keyOf(name string) string {
	key, _, _ := strings.Cut(name, "/")
	return backwards(key)
}

func backwards(key string) string {
	text := []byte(key)
	slices.Reverse(text)
	return string(text)
}

// An effect is one on a project.
type effect struct{ id, name string }

// A Class is what a kind of keys is promised.
type Class struct {
	TTL, Retention time.Duration
	// Purged says that rows may be removed once their retention is over, Forgotten that
	// they may be at any time.
	Purged, Forgotten bool
	// Longer says that a row may be kept for longer than its retention: it may be older than
	// the column that says until when.
	Longer bool
}

// A Violation is a promise that was not kept.
type Violation struct {
	// Key is whose promise it was; empty for one that no key is known for.
	Key  string
	What string
}

// load returns the rows of all keys by key, and how often each effect took place.
func load(ctx context.Context, conn *pgx.Conn) (rows map[string][]row, effects map[effect]int, err error) {
	found, _ := conn.Query(ctx, `
		select key, coalesce(response_json->'project'->>'id', ''), coalesce(response_json->'project'->>'name', ''), false, false,
			extract(epoch from expires_at - created_at)::float8, extract(epoch from retained_until - created_at)::float8
		from idempotency_keys
		union all
		select key, id, name, true, early, 0, 0 from audit.removed`)
	list, err := pgx.CollectRows(found, func(from pgx.CollectableRow) (r row, err error) {
		var ttl, retention float64
		err = from.Scan(&r.key, &r.id, &r.name, &r.removed, &r.early, &ttl, &retention)
		r.ttl, r.retention = time.Duration(ttl*float64(time.Second)), time.Duration(retention*float64(time.Second))
		return r, err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("reading the keys: %w", err)
	}
	rows = make(map[string][]row)
	for _, r := range list {
		rows[r.key] = append(rows[r.key], r)
	}
	found, _ = conn.Query(ctx, `select id::text, name from audit.effects`)
	all, err := pgx.CollectRows(found, func(from pgx.CollectableRow) (e effect, err error) {
		return e, from.Scan(&e.id, &e.name)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("reading the effects: %w", err)
	}
	effects = make(map[effect]int)
	for _, e := range all {
		effects[e]++
	}
	return rows, effects, nil
}

// A Result is what Compare finds: where the database and the callers disagree, and how
// many rows the purge and calls of Forget removed.
type Result struct {
	Violations        []Violation
	Purged, Forgotten int
}

// Compare compares the database with the callers' history, and adds a look at the row to
// the history of each key that is kept. Nobody may call meanwhile.
func Compare(ctx context.Context, conn *pgx.Conn, h *history.History, class func(key string) Class, now time.Duration) (Result, error) {
	rows, effects, err := load(ctx, conn)
	if err != nil {
		return Result{}, err
	}
	c := comparison{rows: rows, effects: effects, class: class}
	for _, key := range h.Keys() {
		calls := h.Of(key)
		c.sent(key, calls)
		c.acknowledged(key, calls)
		if class(key).Purged {
			continue // Its row may be gone by now.
		}
		look := history.Call{Key: key, Called: now, Returned: now, Outcome: history.Stored}
		for _, r := range rows[key] {
			if !r.removed {
				look.Variant = r.variant()
			}
		}
		h.Add(look)
	}
	c.effectsHaveRows()
	c.rowsHaveEffects()
	return c.Result, nil
}
