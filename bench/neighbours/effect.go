package main

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// An input is what a caller asks for: a note, and what is bad about it.
type input struct {
	Key string
	// Bad is nil for a caller that behaves.
	Bad *behaviour
}

func (i input) when() moment {
	if i.Bad == nil {
		return never
	}
	return i.Bad.when
}

// A payload is what the caller gets.
type payload struct {
	Text   string
	Number float64
}

// A row is the note of an item.
type row struct {
	tag    *string
	parent pgtype.Int8
}

// tables are what the effects work on. A tag is taken once; a parent is looked
// for at the commit.
const tables = `
create table parents (id bigint primary key);
create table notes (
	tenant text not null,
	key text not null,
	tag text,
	parent bigint,
	constraint notes_pkey primary key (tenant, key),
	constraint notes_tag_key unique (tag),
	constraint notes_parent_fkey foreign key (parent) references parents (id) deferrable initially deferred
);
create table shared (id int primary key, n bigint not null);
insert into shared (id, n) values (1, 0), (2, 0);
create table held (id int primary key);
insert into held (id) values (1);
create schema elsewhere;
create table elsewhere.idempotency_keys (like public.idempotency_keys including all);
create role neighbour;
grant usage on schema public to neighbour`

// empty makes every measurement begin with the same tables.
const empty = `
truncate idempotency_keys, elsewhere.idempotency_keys, notes;
insert into notes (tenant, key, tag) values ('', '', 'taken')`

// unkeyed counts notes without a key and keys without a note: there is neither
// where every call takes effect as a whole or not at all.
const unkeyed = `
select count(*)
from (select tenant, key from notes where tenant <> '') as notes
full join (select scope as tenant, key from idempotency_keys) as keys using (tenant, key)
where notes.tenant is null or keys.tenant is null`

var errOwn = errors.New("the caller's own error")

// takeNotes is the effect of the batch: one statement for the notes of all items.
// What is bad about an item comes before it, in it, or after it.
func takeNotes(ctx context.Context, tx pgx.Tx, items []*item) error {
	accepted := make([]*item, 0, len(items))
	var refused []*item
	for _, it := range items {
		switch it.Input.when() {
		case early:
			it.Fail(errOwn)
		case declined:
			refused = append(refused, it)
		default:
			accepted = append(accepted, it)
		}
	}
	if err := insert(ctx, tx, accepted); err != nil {
		return err
	}
	for _, it := range refused {
		it.Decline(errOwn)
	}
	for _, it := range accepted {
		value := payload{Text: it.Input.Key}
		if bad := it.Input.Bad; bad != nil {
			value = bad.payload
			if bad.act != nil {
				if err := bad.act(ctx, tx, it); err != nil {
					return err
				}
			}
		}
		switch it.Input.when() {
		case late:
			it.Fail(errOwn)
		case missed:
		default:
			it.Succeed(value)
		}
	}
	return nil
}

// insert adds the items' notes.
func insert(ctx context.Context, tx pgx.Tx, items []*item) error {
	n := len(items)
	if n == 0 {
		return nil
	}
	tenants, keys, tags, parents := make([]string, n), make([]string, n), make([]*string, n), make([]pgtype.Int8, n)
	for i, it := range items {
		tenants[i], keys[i] = it.Scope, it.Input.Key
		if bad := it.Input.Bad; bad != nil {
			tags[i], parents[i] = bad.row.tag, bad.row.parent
		}
	}
	_, err := tx.Exec(ctx, `
		insert into public.notes (tenant, key, tag, parent)
		select tenant, key, tag, parent
		from unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) as rows (tenant, key, tag, parent)`,
		tenants, keys, tags, parents)
	return err
}
