package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	uuids "github.com/google/uuid"

	"github.com/onceql/onceql/idempotency/internal/store"
)

// rowColumns are those of a row of idempotency_keys as a look-up returns it.
var rowColumns = []uint32{text, text, text, bytea, int2, json, text, uuid, text, timestamptz, timestamptz, timestamptz}

// keyStatements are those of store.Texts.
func keyStatements() map[string]*statement {
	claimed := []uint32{timestamptz, boolean, text, text, booleans, text, text, text, text, text, text, text}
	claim := func(all, shared bool) *statement {
		return &statement{params: []uint32{int8s, texts, text, text, text}, columns: claimed, run: func(s *session, a *args) (result, error) {
			return claim(s, a, all, shared), nil
		}}
	}
	times := []uint32{timestamptz, timestamptz, timestamptz}
	return map[string]*statement{
		"resolve":   {columns: []uint32{text}, run: func(*session, *args) (result, error) { return one(Table), nil }},
		"check":     {params: []uint32{text, texts}, columns: []uint32{boolean, text, texts, texts, text}, run: check},
		"claim":     claim(true, false),
		"claim one": claim(false, false),
		"probe":     claim(true, true),
		"find": {params: []uint32{texts, texts}, columns: rowColumns, run: func(s *session, a *args) (result, error) {
			return look(s, a.texts(1), a.texts(2))
		}},
		"find in scope": {params: []uint32{text, texts}, columns: rowColumns, run: func(s *session, a *args) (result, error) {
			names := a.texts(2)
			return look(s, slices.Repeat([]string{a.text(1)}, len(names)), names)
		}},
		"find one": {params: []uint32{text, text}, columns: rowColumns, run: func(s *session, a *args) (result, error) {
			return look(s, []string{a.text(1)}, []string{a.text(2)})
		}},
		"constraints": {control: true, run: constraints},
		"restore": {
			params:  []uint32{text, text, text, texts, text, timestamptz},
			columns: []uint32{int4, text, text, text, text, text, text, text, text, void}, run: restore,
		},
		"insert": {
			params:  append([]uint32{texts, texts, texts, byteas, int2s, texts, texts, texts, texts}, times...),
			columns: []uint32{int4}, run: insert,
		},
		"insert one": {
			params:  append([]uint32{text, text, text, bytea, int2, text, text, text, text}, times...),
			columns: []uint32{int4}, run: insertOne,
		},
		"acknowledge": {columns: []uint32{lsn}, run: func(s *session, _ *args) (result, error) {
			if err := s.writes("pg_logical_emit_message()"); err != nil {
				return result{}, err
			}
			s.tx.written = true
			return one("0/0"), nil
		}},
		"scope": {params: []uint32{text}, columns: []uint32{text}, run: func(s *session, a *args) (result, error) {
			s.tx.settings.tenants = array([]string{a.text(1)})
			return one(s.tx.settings.tenants), nil
		}},
		"info":       {params: []uint32{text, text}, columns: []uint32{text, text, text, timestamptz, timestamptz, timestamptz, boolean}, run: info},
		"forgetting": {params: []uint32{text, text}, columns: []uint32{text, text}, run: forgetting},
		"lock":       {params: []uint32{int8}, columns: []uint32{boolean}, run: tryLock},
		"exists": {params: []uint32{text, text}, columns: []uint32{boolean}, run: func(s *session, a *args) (result, error) {
			return one(len(s.tx.rowsOf(a.key())) > 0), nil
		}},
		"forget":     {params: []uint32{text, text}, run: forget},
		"purge lock": {params: []uint32{int8, text}, columns: []uint32{boolean}, run: purgeLock},
		"purge":      {params: []uint32{timestamptz, int8}, columns: []uint32{int8, timestamptz}, run: purge},
	}
}

// writes refuses a statement that writes where nothing can be written.
func (s *session) writes(command string) error {
	if s.node.upstream != nil || s.tx.readOnly {
		return &pgError{code: "25006", message: "cannot execute " + command + " in a read-only transaction"}
	}
	return nil
}

// array is the text of a text array.
func array(values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = v
		if v == "" || strings.ContainsAny(v, "{}\",\\ \t\n") || strings.EqualFold(v, "null") {
			quoted[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v) + `"`
		}
	}
	return "{" + strings.Join(quoted, ",") + "}"
}

func check(s *session, _ *args) (result, error) {
	key := "scope, key"
	if s.c.config.NoPrimaryKey {
		key = ""
	}
	return one(s.node.upstream != nil, "UTF8", []string{}, []string{}, key), nil
}

// claim takes advisory locks, all or the first, and sets what the transaction depends on.
func claim(s *session, a *args, all, shared bool) result {
	ids := arg[[]int64](a, 1)
	if !all {
		ids = ids[:1]
	}
	t := s.tx
	set := &t.settings
	came := strings.Join([]string{set.role, set.rowSecurity, set.searchPath, "0"}, "\x1f")
	held := make([]bool, len(ids))
	for i, id := range ids {
		held[i] = t.tryLock(id, shared)
	}
	if s.node.upstream != nil {
		s.note("claims on a standby", fmt.Sprint(held))
	} else {
		s.note("claims", fmt.Sprint(held))
	}
	set.tenants = array(a.texts(2))
	set.lock, set.statement, set.idle = a.text(3), a.text(4), a.text(5)
	set.standBy()
	return one(t.now, s.node.synchronous, came, "", held,
		set.tenants, shown(set.lock), shown(set.statement), shown(set.idle), set.synchronousCommit, "on", "off")
}

// standBy makes the commit wait for a standby, where there is one.
func (s *settings) standBy() {
	if s.synchronousCommit == "off" || s.synchronousCommit == "local" {
		s.synchronousCommit = "on"
	}
}

func look(s *session, scopes, names []string) (result, error) {
	found := result{}
	for i := range names {
		for _, r := range s.tx.rowsOf(store.Key{Scope: scopes[i], Key: names[i]}) {
			found.rows = append(found.rows, []any{
				r.Scope, r.Key.Key, r.Operation, r.Hash, r.HashVersion, r.Response,
				r.RequestID, r.ExecutionID, r.Trace, r.CreatedAt, r.ExpiresAt, r.RetainedUntil,
			})
			break
		}
	}
	s.note("finds", fmt.Sprint(len(found.rows)), "of", fmt.Sprint(len(names)))
	return found, nil
}

func constraints(s *session, _ *args) (result, error) {
	if s.tx == nil {
		return result{tag: "SET CONSTRAINTS"}, nil
	}
	s.tx.immediate = true
	return result{tag: "SET CONSTRAINTS"}, s.tx.checkDeferred()
}

func restore(s *session, a *args) (result, error) {
	t := s.tx
	if now := a.time(6); !now.Equal(t.now) {
		return result{}, &pgError{code: "22P02", message: fmt.Sprintf(`invalid input syntax for type integer: "another transaction, of %s"`, t.now)}
	}
	set := &t.settings
	set.role, set.rowSecurity, set.searchPath = a.text(1), a.text(2), a.text(3)
	set.tenants = array(a.texts(4))
	set.lock, set.statement = a.text(5), a.text(5)
	set.standBy()
	return one(int32(1), set.role, set.rowSecurity, nil, set.tenants, shown(set.lock), shown(set.statement), set.synchronousCommit, "off", nil), nil
}

func insert(s *session, a *args) (result, error) {
	scopes, names, operations := a.texts(1), a.texts(2), a.texts(3)
	hashes, versions, responses := arg[[][]byte](a, 4), arg[[]int16](a, 5), a.texts(6)
	requestIDs, executionIDs, traces := a.texts(7), a.texts(8), a.texts(9)
	rows := make([]store.Row, len(names))
	for i := range rows {
		rows[i] = store.Row{
			Key: store.Key{Scope: scopes[i], Key: names[i]}, Operation: operations[i], Hash: hashes[i], HashVersion: versions[i],
			Response: []byte(responses[i]), RequestID: requestIDs[i], ExecutionID: uuids.MustParse(executionIDs[i]), Trace: traces[i],
		}
	}
	return s.insert(rows, a)
}

func insertOne(s *session, a *args) (result, error) {
	return s.insert([]store.Row{{
		Key: a.key(), Operation: a.text(3), Hash: arg[[]byte](a, 4), HashVersion: arg[int16](a, 5),
		Response: []byte(a.text(6)), RequestID: a.text(7), ExecutionID: uuids.MustParse(a.text(8)), Trace: a.text(9),
	}}, a)
}

func (s *session) insert(rows []store.Row, a *args) (result, error) {
	if err := s.writes("INSERT"); err != nil {
		return result{}, err
	}
	created, expires, retained := a.time(10), a.time(11), a.time(12)
	for _, r := range rows {
		r.CreatedAt, r.ExpiresAt, r.RetainedUntil = created, expires, retained
		if err := s.tx.insertKey(r); err != nil {
			return result{}, err
		}
		s.note("inserts", r.Scope, r.Key.Key)
	}
	return one(int32(1)), nil
}

func info(s *session, a *args) (result, error) {
	found := result{}
	for _, r := range s.tx.rowsOf(a.key()) {
		found.rows = append(found.rows, []any{
			r.Operation, r.RequestID, r.Trace, r.CreatedAt, r.ExpiresAt, r.RetainedUntil, !r.ExpiresAt.After(s.tx.now),
		})
	}
	return found, nil
}

func tryLock(s *session, a *args) (result, error) { return one(s.tx.tryLock(a.int8(1), false)), nil }

func forgetting(s *session, a *args) (result, error) {
	set := &s.tx.settings
	set.tenants, set.idle = array([]string{a.text(1)}), a.text(2)
	return one(set.tenants, shown(set.idle)), nil
}

func purgeLock(s *session, a *args) (result, error) {
	s.tx.settings.idle = a.text(2)
	return tryLock(s, a)
}

func forget(s *session, a *args) (result, error) {
	removed, err := s.remove(a.key(), func(store.Row) bool { return true })
	return result{tag: fmt.Sprintf("DELETE %d", len(removed))}, err
}

// remove deletes the key's rows that are to be, and returns them.
func (s *session) remove(key store.Key, due func(store.Row) bool) (removed []store.Row, err error) {
	if err := s.writes("DELETE"); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(s.tx.rowsOf(key), due) {
		return nil, nil
	}
	kept := len(s.tx.locks)
	if err := s.tx.lockRow(rowID{table: "idempotency_keys", key: key}); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(s.tx.rowsOf(key), due) { // Who was waited for removed it: there is nothing to lock.
		s.tx.unlock(kept)
		return nil, nil
	}
	for _, r := range s.tx.rowsOf(key) {
		if due(r) {
			s.tx.do(op{kind: deleteKey, row: r})
			s.note("deletes", key.Scope, key.Key)
			removed = append(removed, r)
		}
	}
	return removed, nil
}

// needed says whether a purge at the moment is too early for the row: it still replays, or
// is retained.
func needed(r store.Row, now time.Time) bool {
	return !r.ExpiresAt.Before(now) || !r.RetainedUntil.Before(now)
}

// purge deletes rows whose times are over, those first that were retained until earlier.
func purge(s *session, a *args) (result, error) {
	now, oldest := s.tx.now, time.Time{}
	if !a.null(1) {
		oldest = a.time(1)
	}
	due := func(r store.Row) bool { return r.RetainedUntil.Before(now) && r.ExpiresAt.Before(now) }
	var rows []store.Row
	for _, found := range s.node.state.keys {
		for _, r := range found {
			if due(r) && !r.RetainedUntil.Before(oldest) {
				rows = append(rows, r)
			}
		}
	}
	slices.SortFunc(rows, func(a, b store.Row) int {
		if order := a.RetainedUntil.Compare(b.RetainedUntil); order != 0 {
			return order
		}
		return a.Compare(b.Key)
	})
	var count int64
	var newest *time.Time
	for _, r := range rows[:min(int64(len(rows)), a.int8(2))] {
		removed, err := s.remove(r.Key, due)
		if err != nil {
			return result{}, err
		}
		for _, gone := range removed {
			if needed(gone, now) {
				s.note("purges too early", gone.Scope, gone.Key.Key)
			}
			if count++; newest == nil || newest.Before(gone.RetainedUntil) {
				newest = &gone.RetainedUntil
			}
		}
	}
	return one(count, newest), nil
}
