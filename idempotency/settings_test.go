package idempotency_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/internal/pgtest"
)

// asRole returns the fixture's address for a role that is above nothing, with the rights
// that a server has.
func (f *fixture) asRole() string {
	f.t.Helper()
	address := pgtest.AsRole(f.t, f.url)
	f.exec(`grant select, insert, delete on idempotency_keys to onceql_tests`)
	f.exec(`grant select, insert on notes to onceql_tests`)
	f.exec(`grant usage on sequence notes_id_seq to onceql_tests`)
	return address
}

// What an effect sets for its transaction is not what its keys are stored with.
func TestSettings_OfAnEffectDoNotReachTheKeys(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"search_path":         `set local search_path = other`,
		"search_path, empty":  `select set_config('search_path', '', true)`,
		"role":                `set local role none`,
		"another role":        `set local role onceql_nobody`,
		"no tenants":          `select set_config('onceql.tenants', '{}', true)`,
		"other tenants":       `select set_config('onceql.tenants', '{nobody}', true)`,
		"tenants, malformed":  `select set_config('onceql.tenants', '{', true)`,
		"lock_timeout":        `set local lock_timeout = 1`,
		"statement_timeout":   `set local statement_timeout = 300`, // Less than the insert takes.
		"synchronous_commit":  `set local synchronous_commit = off`,
		"row_security":        `do $$ begin set local role onceql_above; set local row_security = off; end $$`,
		"enable_seqscan":      `set local enable_seqscan = off`,
		"constraints":         `set constraints all deferred`,
		"time zone":           `set local time zone 'Pacific/Kiritimati'`,
		"intervalstyle, date": `set local datestyle = 'SQL, DMY'`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.exec(`create schema other; create table other.idempotency_keys (like idempotency_keys including all)`)
			f.exec(`do $$ begin create role onceql_nobody; exception when duplicate_object or unique_violation then null; end $$`)
			if name == "statement_timeout" {
				f.exec(`create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.4); return null; end $$;
					create trigger slow after insert on idempotency_keys for each statement execute function slow()`)
			}
			address := f.asRole()
			f.exec(`grant usage on schema other to onceql_tests; grant all on other.idempotency_keys to onceql_tests`)
			if name == "row_security" { // As a role that no policy holds for.
				f.exec(`do $$ begin create role onceql_above bypassrls; exception when duplicate_object or unique_violation then null; end $$`)
				f.exec(`grant onceql_above to onceql_tests`)
			}
			if name == "another role" {
				address = f.url // A role that may become any other.
			}
			engine := f.engineOn(f.open(address, 6), idempotency.Config{Batches: 1, Wait: testTimeout})

			if _, err := idempotency.Do(t.Context(), engine, call("alone", "a"), func(ctx context.Context, tx pgx.Tx) (note, error) {
				n, err := write("a")(ctx, tx)
				if err == nil {
					err = does(sql)(ctx, f, tx)
				}
				return n, err
			}); err != nil {
				t.Errorf("alone: %v", err)
			}
			batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), func(ctx context.Context, tx pgx.Tx, items []*noteItem) error {
				if err := writes(ctx, tx, items); err != nil {
					return err
				}
				return does(sql)(ctx, f, tx)
			})
			executed(t, together(t, engine, batch, texts(5)...)...)
			f.effects(6)
			if n := f.count(`select count(*) from other.idempotency_keys`); n != 0 {
				t.Errorf("%d keys are in another schema", n)
			}
		})
	}
}

// What can't be put back is refused.
func TestSettings_ThatStayAreTheEffectsFailure(t *testing.T) {
	t.Parallel()
	misdeeds(t, map[string]misdeed{
		"read only": {do: does(`set transaction read only`), is: is(idempotency.ErrTransaction)},
	})
}

// A setting of the session would outlive the transaction: the connection goes.
func TestSettings_OfASessionEndItsConnection(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"search_path":  `set search_path = other`,
		"role":         `set role onceql_nobody`,
		"row_security": `set row_security = off`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.exec(`create schema other; create table other.idempotency_keys (like idempotency_keys including all)`)
			f.exec(`do $$ begin create role onceql_nobody; exception when duplicate_object or unique_violation then null; end $$`)
			engine := f.engineOn(f.open(f.url, 4), idempotency.Config{Workers: 1})
			const calls = 10
			for i := range calls {
				text := fmt.Sprint(i)
				o, err := run(t.Context(), engine, call(text, text), func(ctx context.Context, tx pgx.Tx) (note, error) {
					n, err := write(text)(ctx, tx)
					if err == nil {
						err = does(sql)(ctx, f, tx)
					}
					return n, err
				})
				if err != nil || o.Replayed {
					t.Errorf("%s: %+v, %v", text, o, err)
				}
			}
			f.effects(calls)
			for i := range calls {
				text := fmt.Sprint(i)
				if o, err := run(t.Context(), engine, call(text, text), never(t)); err != nil || !o.Replayed {
					t.Errorf("%s again: %+v, %v", text, o, err)
				}
			}
		})
	}
}

// A role whose commits are not durable still has durable keys, and the effect with them.
func TestSettings_OfTheRoleDoNotWeakenTheCommit(t *testing.T) {
	t.Parallel()
	for _, weak := range []string{"off", "local"} {
		t.Run(weak, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.exec(`
				create table commits (level text);
				create function observe() returns trigger language plpgsql as $$
					begin insert into commits values (current_setting('synchronous_commit')); return null; end $$;
				create trigger observes after insert on idempotency_keys execute function observe()`)
			engine := f.engineOn(f.open(f.url+"&synchronous_commit="+weak, 4), idempotency.Config{})
			for _, sql := range []string{`select 1`, `set local synchronous_commit = off`} {
				if _, err := run(t.Context(), engine, call(sql, "a"), func(ctx context.Context, tx pgx.Tx) (note, error) {
					n, err := write("a")(ctx, tx)
					if err == nil {
						err = does(sql)(ctx, f, tx)
					}
					return n, err
				}); err != nil {
					t.Fatal(err)
				}
			}
			if n := f.count(`select count(*) from commits where level = 'on'`); n != 2 {
				t.Errorf("%d commits are durable, want 2", n)
			}
		})
	}
}
