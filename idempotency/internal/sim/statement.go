package sim

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/onceql/onceql/idempotency/internal/store"
)

// Table is where the cluster's idempotency_keys are.
const Table = "public.idempotency_keys"

// A statement is one that the cluster knows, by its text.
type statement struct {
	name            string
	params, columns []uint32
	// control statements begin no transaction by themselves; ends says that it is one for
	// transactions that have failed, too.
	control, ends bool
	run           func(*session, *args) (result, error)
}

// The types of parameters and columns.
const (
	boolean     = pgtype.BoolOID
	bytea       = pgtype.ByteaOID
	int2        = pgtype.Int2OID
	int4        = pgtype.Int4OID
	int8        = pgtype.Int8OID
	float8      = pgtype.Float8OID
	json        = pgtype.JSONOID
	text        = pgtype.TextOID
	timestamptz = pgtype.TimestamptzOID
	uuid        = pgtype.UUIDOID
	booleans    = pgtype.BoolArrayOID
	byteas      = pgtype.ByteaArrayOID
	int2s       = pgtype.Int2ArrayOID
	int8s       = pgtype.Int8ArrayOID
	texts       = pgtype.TextArrayOID
	lsn         = 3220
	void        = 2278
)

// known are the statements by their text.
var known = sync.OnceValue(func() map[string]*statement {
	statements := keyStatements()
	maps.Copy(statements, effectStatements())
	sql := store.Texts(Table)
	maps.Copy(sql, Statements)
	found := make(map[string]*statement, len(sql))
	for name, text := range sql {
		st := statements[name]
		if st == nil {
			panic("sim: nothing is known of the statement " + name)
		}
		st.name = name
		found[strings.TrimSpace(text)] = st
	}
	return found
})

// find returns the statement with the text.
func find(sql string) (*statement, error) {
	sql = strings.TrimSpace(sql)
	if st := known()[sql]; st != nil {
		return st, nil
	}
	for _, form := range controls {
		if rest, ok := strings.CutPrefix(sql, form.prefix); ok && (form.exact == (rest == "")) {
			return &statement{
				name: form.name, columns: form.columns, control: form.columns == nil, ends: form.ends,
				run: func(s *session, _ *args) (result, error) { return form.run(s, rest) },
			}, nil
		}
	}
	return nil, fmt.Errorf("unknown statement: %s", sql)
}

// A control is a statement with a name in it, or without parameters. Longer prefixes come
// first.
type control struct {
	prefix  string
	exact   bool
	name    string
	columns []uint32
	ends    bool
	run     func(s *session, rest string) (result, error)
}

var controls = []control{
	{prefix: "begin isolation level read committed read write", exact: true, name: "begin", run: beginReadWrite},
	{prefix: "begin read write", exact: true, name: "begin", run: beginReadWrite},
	{prefix: "begin isolation level read committed", exact: true, name: "begin", run: begin},
	{prefix: "begin", exact: true, name: "begin", run: begin},
	{prefix: "commit", exact: true, name: "commit", ends: true, run: func(s *session, _ string) (result, error) {
		if s.tx == nil || s.tx.implicit {
			return result{tag: "COMMIT"}, nil
		}
		tag, err := s.commit()
		return result{tag: tag}, err
	}},
	{prefix: "rollback", exact: true, name: "rollback", ends: true, run: func(s *session, _ string) (result, error) {
		s.rollback()
		return result{tag: "ROLLBACK"}, nil
	}},
	{prefix: "savepoint ", name: "savepoint", run: func(s *session, name string) (result, error) {
		if s.tx == nil || s.tx.implicit {
			return result{}, &pgError{code: "25P01", message: "SAVEPOINT can only be used in transaction blocks"}
		}
		s.tx.set(name)
		return result{tag: "SAVEPOINT"}, nil
	}},
	{prefix: "rollback to savepoint ", name: "rollback to", ends: true, run: rollbackTo},
	{prefix: "rollback to ", name: "rollback to", ends: true, run: rollbackTo},
	{prefix: "release savepoint ", name: "release", run: release},
	{prefix: "release ", name: "release", run: release},
	{prefix: "set local lock_timeout = ", name: "set", run: func(s *session, value string) (result, error) {
		if s.tx != nil {
			s.tx.settings.lock = value
		}
		return result{tag: "SET"}, nil
	}},
	{prefix: "select 1", exact: true, name: "select 1", columns: []uint32{int4}, run: func(*session, string) (result, error) {
		return result{rows: [][]any{{int32(1)}}}, nil
	}},
	{prefix: "show transaction_read_only", exact: true, name: "show", columns: []uint32{text}, run: func(s *session, _ string) (result, error) {
		return result{rows: [][]any{{onOff(s.node.upstream != nil || s.tx.readOnly)}}, tag: "SHOW"}, nil
	}},
	{prefix: "select pg_is_in_recovery()", exact: true, name: "recovery", columns: []uint32{boolean}, run: func(s *session, _ string) (result, error) {
		return result{rows: [][]any{{s.node.upstream != nil}}}, nil
	}},
}

func begin(s *session, _ string) (result, error) {
	if s.tx != nil && !s.tx.implicit {
		return result{tag: "BEGIN"}, nil // With a warning.
	}
	if s.tx == nil {
		s.begin(false)
	}
	s.tx.implicit = false
	return result{tag: "BEGIN"}, nil
}

func beginReadWrite(s *session, rest string) (result, error) {
	if s.node.upstream != nil {
		return result{}, &pgError{code: "0A000", message: "cannot set transaction read-write mode during recovery"}
	}
	return begin(s, rest)
}

func rollbackTo(s *session, name string) (result, error) {
	i, err := s.savepoint("ROLLBACK TO SAVEPOINT", name)
	if err != nil {
		return result{}, err
	}
	s.tx.back(i)
	s.failed = false
	return result{tag: "ROLLBACK"}, nil
}

func release(s *session, name string) (result, error) {
	i, err := s.savepoint("RELEASE SAVEPOINT", name)
	if err != nil {
		return result{}, err
	}
	s.tx.release(i)
	return result{tag: "RELEASE"}, nil
}

func (s *session) savepoint(command, name string) (int, error) {
	if s.tx == nil || s.tx.implicit {
		return 0, &pgError{code: "25P01", message: command + " can only be used in transaction blocks"}
	}
	i := s.tx.find(name)
	if i < 0 {
		return 0, &pgError{code: "3B001", message: fmt.Sprintf("savepoint %q does not exist", name)}
	}
	return i, nil
}

// args are what a statement was bound with.
type args struct {
	s *session
	p *portal
}

// scan reads the i-th parameter, from 1.
func (a *args) scan(i int, into any) {
	err := a.s.c.types.Scan(a.p.statement.params[i-1], format(a.p.formats, i-1), a.p.params[i-1], into)
	if err != nil {
		panic(fmt.Sprintf("sim: parameter %d of %s: %v", i, a.p.statement.name, err))
	}
}

func arg[T any](a *args, i int) (value T) {
	a.scan(i, &value)
	return value
}

func (a *args) text(i int) string    { return arg[string](a, i) }
func (a *args) texts(i int) []string { return arg[[]string](a, i) }
func (a *args) int8(i int) int64     { return arg[int64](a, i) }
func (a *args) time(i int) time.Time { return arg[time.Time](a, i).UTC() }
func (a *args) key() store.Key       { return store.Key{Scope: a.text(1), Key: a.text(2)} }
func (a *args) null(i int) bool      { return a.p.params[i-1] == nil }
func one(values ...any) result       { return result{rows: [][]any{values}} }
