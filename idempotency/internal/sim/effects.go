package sim

import (
	"fmt"
	"slices"
	"time"
)

// Schema creates the tables of Statements on a real server.
const Schema = `
create table effects (
	id    bigint generated always as identity primary key,
	scope text   not null,
	key   text   not null,
	n     bigint not null constraint effects_n_check check (n >= 0)
);
create table counters (id bigint primary key, n bigint not null);
create table owners (id bigint primary key);
create table marks (
	owner bigint not null constraint marks_owner_fkey references owners deferrable initially deferred
);
insert into counters select id, 0 from generate_series(1, 9) id` // As counters has it.

// Statements are those that effects may consist of, by name.
var Statements = map[string]string{
	// An effect with n less than zero violates a constraint.
	"effect": `insert into effects (scope, key, n) values ($1, $2, $3) returning id`,
	// The rows return in any order.
	"effects":          `insert into effects (scope, key, n) select * from unnest($1::text[], $2::text[], $3::bigint[]) returning scope, key, id`,
	"effects of a key": `select count(*) from effects where scope = $1 and key = $2`,
	// A mark without its owner violates a constraint at the transaction's end.
	"mark":    `insert into marks (owner) values ($1)`,
	"owner":   `insert into owners (id) values ($1)`,
	"counter": `select n from counters where id = $1 for update`,
	"count":   `update counters set n = n + 1 where id = $1 returning n`,
	"sleep":   `select pg_sleep($1)`,
}

func effectStatements() map[string]*statement {
	return map[string]*statement{
		"effect": {params: []uint32{text, text, int8}, columns: []uint32{int8}, run: func(s *session, a *args) (result, error) {
			e, err := s.effect(a.text(1), a.text(2), a.int8(3))
			return result{rows: [][]any{{e.ID}}, tag: "INSERT 0 1"}, err
		}},
		"effects": {params: []uint32{texts, texts, int8s}, columns: []uint32{text, text, int8}, run: effects},
		"effects of a key": {params: []uint32{text, text}, columns: []uint32{int8}, run: func(s *session, a *args) (result, error) {
			key := a.key()
			n := int64(0)
			for _, e := range s.node.state.effects {
				if e.Scope == key.Scope && e.Key == key.Key {
					n++
				}
			}
			for _, o := range s.tx.ops {
				if o.kind == insertEffect && o.effect.Scope == key.Scope && o.effect.Key == key.Key {
					n++
				}
			}
			return one(n), nil
		}},
		"mark": {params: []uint32{int8}, run: func(s *session, a *args) (result, error) {
			if err := s.writes("INSERT"); err != nil {
				return result{}, err
			}
			s.tx.written = true
			s.tx.deferred = append(s.tx.deferred, a.int8(1))
			if s.tx.immediate {
				return result{tag: "INSERT 0 1"}, s.tx.checkDeferred()
			}
			return result{tag: "INSERT 0 1"}, nil
		}},
		"owner": {params: []uint32{int8}, run: owner},
		"counter": {params: []uint32{int8}, columns: []uint32{int8}, run: func(s *session, a *args) (result, error) {
			return s.counter(a.int8(1), "SELECT FOR UPDATE", 0)
		}},
		"count": {params: []uint32{int8}, columns: []uint32{int8}, run: func(s *session, a *args) (result, error) {
			found, err := s.counter(a.int8(1), "UPDATE", 1)
			found.tag = fmt.Sprintf("UPDATE %d", len(found.rows))
			return found, err
		}},
		"sleep": {params: []uint32{float8}, columns: []uint32{void}, run: func(s *session, a *args) (result, error) {
			until := s.c.now() + s.c.instant(time.Duration(arg[float64](a, 1)*float64(time.Second)))
			_, err := s.await(until, func() bool { return false })
			return one(nil), err
		}},
	}
}

func owner(s *session, a *args) (result, error) {
	if err := s.writes("INSERT"); err != nil {
		return result{}, err
	}
	if err := s.tx.lockRow(rowID{table: "owners", id: a.int8(1)}); err != nil {
		return result{}, err
	}
	if s.tx.owns(a.int8(1)) {
		return result{}, &pgError{
			code: "23505", message: `duplicate key value violates unique constraint "owners_pkey"`, constraint: "owners_pkey",
		}
	}
	s.tx.do(op{kind: insertOwner, id: a.int8(1)})
	return result{tag: "INSERT 0 1"}, nil
}

func (s *session) effect(scope, key string, n int64) (Effect, error) {
	if err := s.writes("INSERT"); err != nil {
		return Effect{}, err
	}
	s.c.effects++ // Before the check, as Postgres does it.
	if n < 0 {
		return Effect{}, &pgError{
			code: "23514", message: `new row for relation "effects" violates check constraint "effects_n_check"`, constraint: "effects_n_check",
		}
	}
	e := Effect{ID: s.c.effects, Scope: scope, Key: key, N: n}
	s.tx.do(op{kind: insertEffect, effect: e})
	s.note("effect", scope, key, fmt.Sprint(n))
	return e, nil
}

func effects(s *session, a *args) (result, error) {
	scopes, keys, ns := a.texts(1), a.texts(2), arg[[]int64](a, 3)
	var found result
	for i := range ns {
		e, err := s.effect(scopes[i], keys[i], ns[i])
		if err != nil {
			return result{}, err
		}
		found.rows = append(found.rows, []any{e.Scope, e.Key, e.ID})
	}
	for i := len(found.rows) - 1; i > 0; i-- {
		j := int(s.link.draws.Uint64() % uint64(i+1))
		found.rows[i], found.rows[j] = found.rows[j], found.rows[i]
	}
	found.tag = fmt.Sprintf("INSERT 0 %d", len(ns))
	return found, nil
}

// counters is how many counters there are; they are numbered from 1.
const counters = 9

// counter locks a counter, adds to it, and returns what it stands at then.
func (s *session) counter(id int64, command string, add int64) (result, error) {
	if err := s.writes(command); err != nil {
		return result{}, err
	}
	if id < 1 || id > counters {
		return result{}, nil
	}
	if err := s.tx.lockRow(rowID{table: "counters", id: id}); err != nil {
		return result{}, err
	}
	s.tx.written = true
	n := s.node.state.counters[id]
	for _, o := range s.tx.ops {
		if o.kind == setCounter && o.id == id {
			n = o.n
		}
	}
	if add != 0 {
		n += add
		s.tx.do(op{kind: setCounter, id: id, n: n})
	}
	return one(n), nil
}

// owns says whether the transaction sees the owner.
func (t *txn) owns(id int64) bool {
	return t.session.node.state.owners[id] || slices.ContainsFunc(t.ops, func(o op) bool { return o.kind == insertOwner && o.id == id })
}

// checkDeferred looks for the owners of the marks that were made.
func (t *txn) checkDeferred() error {
	for len(t.deferred) > 0 {
		if !t.owns(t.deferred[0]) {
			return &pgError{
				code:       "23503",
				message:    `insert or update on table "marks" violates foreign key constraint "marks_owner_fkey"`,
				constraint: "marks_owner_fkey",
			}
		}
		t.deferred = t.deferred[1:]
	}
	return nil
}
