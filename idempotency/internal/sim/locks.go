package sim

import (
	"slices"
	"time"

	"github.com/onceql/onceql/idempotency/internal/store"
)

// An advisory lock has one exclusive holder or several that share it. A holder may have it
// several times.
type advisory struct {
	exclusive *txn
	n         int
	shared    []*txn
}

// tryLock takes an advisory lock until the transaction's end, if it is free.
func (t *txn) tryLock(id int64, shared bool) bool {
	n := t.session.node
	if n.lying {
		return true
	}
	l := n.locks[id]
	if l == nil {
		l = &advisory{}
		n.locks[id] = l
	}
	others := slices.ContainsFunc(l.shared, func(other *txn) bool { return other != t })
	if l.exclusive != nil && l.exclusive != t || others && !shared {
		return false
	}
	if shared {
		l.shared = append(l.shared, t)
		t.locks = append(t.locks, func() {
			i := slices.Index(l.shared, t)
			l.shared = slices.Delete(l.shared, i, i+1)
		})
		return true
	}
	l.exclusive = t
	l.n++
	t.locks = append(t.locks, func() {
		if l.n--; l.n == 0 {
			l.exclusive = nil
		}
	})
	return true
}

// A rowID names a row.
type rowID struct {
	table string
	key   store.Key
	id    int64
}

// lockRow takes the lock of a row, once nobody else has it, nor has waited for it longer.
func (t *txn) lockRow(id rowID) error {
	rows, queues := t.session.node.rows, t.session.node.queues
	if rows[id] == t {
		return nil
	}
	queues[id] = append(queues[id], t)
	err := t.session.waitFor(func() *txn {
		if other := rows[id]; other != nil {
			return other
		}
		if first := queues[id][0]; first != t {
			return first
		}
		return nil
	})
	if queues[id] = slices.DeleteFunc(queues[id], func(other *txn) bool { return other == t }); len(queues[id]) == 0 {
		delete(queues, id)
	}
	if err == nil {
		rows[id] = t
		t.locks = append(t.locks, func() { delete(rows, id) })
	}
	return err
}

// insertKey inserts a row once no transaction in flight has its key.
func (t *txn) insertKey(row store.Row) error {
	n := t.session.node
	if n.c.config.NoPrimaryKey {
		t.do(op{kind: insertKey, row: row})
		return nil
	}
	err := t.session.waitFor(func() *txn {
		for _, other := range n.inserting[row.Key] {
			if other != t {
				return other
			}
		}
		if other := n.rows[rowID{table: "idempotency_keys", key: row.Key}]; other != t {
			return other
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(t.rowsOf(row.Key)) > 0 {
		t.session.note("unique violation", row.Scope, row.Key.Key)
		return &pgError{
			code: "23505", message: `duplicate key value violates unique constraint "idempotency_keys_pkey"`,
			constraint: "idempotency_keys_pkey",
		}
	}
	n.inserting[row.Key] = append(n.inserting[row.Key], t)
	t.locks = append(t.locks, func() { n.inserted(t, row.Key) })
	t.do(op{kind: insertKey, row: row})
	return nil
}

// inserted says that the transaction's row is no longer in flight.
func (n *node) inserted(t *txn, key store.Key) {
	rest := slices.DeleteFunc(n.inserting[key], func(other *txn) bool { return other == t })
	if len(rest) == 0 {
		delete(n.inserting, key)
	} else {
		n.inserting[key] = rest
	}
}

// do notes a change.
func (t *txn) do(o op) {
	t.written = true
	t.ops = append(t.ops, o)
}

// waitFor waits as long as there is a transaction in the way.
func (s *session) waitFor(holder func() *txn) error {
	for {
		t := holder()
		if t == nil {
			return nil
		}
		s.note("waits for", t.session.link.name)
		if err := s.waitForEnd(t); err != nil {
			s.note("stops waiting:", err.Error())
			return err
		}
		if err := s.work(); err != nil { // Those who are woken don't go on at one instant.
			return err
		}
	}
}

func (s *session) waitForEnd(t *txn) error {
	now := s.c.now()
	check := now + s.c.config.DeadlockTimeout
	var until time.Duration
	if timeout := milliseconds(s.tx.settings.lock); timeout > 0 {
		until = now + timeout
	}
	s.blocked, s.woken = t, false
	t.waiters = append(t.waiters, s)
	defer func() {
		s.blocked = nil
		t.waiters = slices.DeleteFunc(t.waiters, func(other *session) bool { return other == s })
	}()
	for {
		next := until
		if check > 0 {
			next = earlier(until, check)
		}
		late, err := s.await(next, func() bool { return s.woken })
		switch {
		case err != nil || !late:
			return err
		case check > 0 && s.c.now() >= check:
			if s.deadlocked() {
				return &pgError{code: "40P01", message: "deadlock detected"}
			}
			check = 0
		default:
			return &pgError{code: "55P03", message: "canceling statement due to lock timeout"}
		}
	}
}

// deadlocked says whether the session waits for itself.
func (s *session) deadlocked() bool {
	t := s.blocked
	for range s.node.sessions { // A circle may be without it.
		if t == nil || t.session == s {
			break
		}
		t = t.session.blocked
	}
	return t != nil && t.session == s
}
