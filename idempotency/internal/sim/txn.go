package sim

import (
	"slices"
	"strconv"
	"time"

	"github.com/onceql/onceql/idempotency/internal/store"
)

// A txn is a transaction of a session.
type txn struct {
	session *session
	now     time.Time
	// implicit transactions end with the next Sync.
	implicit, readOnly bool
	// written says that it has a number of its own: its commit is logged.
	written bool
	work
	savepoints []savepoint
	// waiters wait for its end, or for a part of it to be undone.
	waiters []*session
	over    bool
}

// work is what a savepoint brings back.
type work struct {
	ops   []op
	locks []func()
	// deferred are the owners that marks were made for and that were not looked for yet;
	// immediate says that they are looked for at once.
	deferred  []int64
	immediate bool
	settings  settings
}

type savepoint struct {
	name string
	work
}

// An op is one change.
type op struct {
	kind opKind
	row  store.Row
	// effect for insertEffect; id and n for the others.
	effect Effect
	id, n  int64
}

type opKind int

const (
	insertKey opKind = iota
	deleteKey
	insertEffect
	setCounter
	insertOwner
)

// A record is a commit in the log.
type record struct{ ops []op }

// An Effect is what an effect of Statements has done.
type Effect struct {
	ID         int64
	Scope, Key string
	N          int64
}

// state is what the tables hold.
type state struct {
	keys     map[store.Key][]store.Row
	effects  []Effect
	counters map[int64]int64
	owners   map[int64]bool
}

func replay(log []*record) state {
	s := state{keys: map[store.Key][]store.Row{}, counters: map[int64]int64{}, owners: map[int64]bool{}}
	for _, r := range log {
		s.apply(r)
	}
	return s
}

func (s *state) apply(r *record) {
	for _, o := range r.ops {
		switch o.kind {
		case insertKey:
			s.keys[o.row.Key] = append(s.keys[o.row.Key], o.row)
		case deleteKey:
			rows := slices.DeleteFunc(s.keys[o.row.Key], func(row store.Row) bool { return row.ExecutionID == o.row.ExecutionID })
			if len(rows) == 0 {
				delete(s.keys, o.row.Key)
			} else {
				s.keys[o.row.Key] = rows
			}
		case insertEffect:
			s.effects = append(s.effects, o.effect)
		case setCounter:
			s.counters[o.id] = o.n
		case insertOwner:
			s.owners[o.id] = true
		}
	}
}

// Keys returns the rows that are durable on the present primary, sorted by key.
func (c *Cluster) Keys() []store.Row {
	c.mu.Lock()
	defer c.mu.Unlock()
	var rows []store.Row
	for _, found := range replay(c.primary.log).keys {
		rows = append(rows, found...)
	}
	slices.SortStableFunc(rows, func(a, b store.Row) int { return a.Compare(b.Key) })
	return rows
}

// Effects returns the effects that are durable on the present primary, in the order of
// their commits.
func (c *Cluster) Effects() []Effect {
	c.mu.Lock()
	defer c.mu.Unlock()
	return replay(c.primary.log).effects
}

// settings are those that statements set, as text.
type settings struct {
	role, rowSecurity, searchPath, tenants, synchronousCommit, readOnly string
	lock, statement, idle                                               string
}

// milliseconds reads a time-out.
func milliseconds(text string) time.Duration {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		panic("sim: a time-out of " + text)
	}
	return time.Duration(n) * time.Millisecond
}

// shown is a time-out as Postgres shows it: in the largest unit that it is whole in.
func shown(timeout string) string {
	d := milliseconds(timeout)
	for _, unit := range []struct {
		name string
		is   time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"min", time.Minute}, {"s", time.Second}} {
		if d > 0 && d%unit.is == 0 {
			return strconv.Itoa(int(d/unit.is)) + unit.name
		}
	}
	if d == 0 {
		return "0"
	}
	return strconv.Itoa(int(d.Milliseconds())) + "ms"
}

// rowsOf returns the rows of the key that the transaction sees.
func (t *txn) rowsOf(key store.Key) []store.Row {
	rows := slices.Clone(t.session.node.state.keys[key])
	for _, o := range t.ops {
		switch {
		case o.row.Key != key:
		case o.kind == insertKey:
			rows = append(rows, o.row)
		case o.kind == deleteKey:
			rows = slices.DeleteFunc(rows, func(row store.Row) bool { return row.ExecutionID == o.row.ExecutionID })
		}
	}
	return rows
}

// set sets a savepoint.
func (t *txn) set(name string) {
	w := t.work
	w.deferred = slices.Clone(w.deferred)
	t.savepoints = append(t.savepoints, savepoint{name, w})
}

// find returns the index of the last savepoint with the name, or less than zero.
func (t *txn) find(name string) int {
	for i := len(t.savepoints) - 1; i >= 0; i-- {
		if t.savepoints[i].name == name {
			return i
		}
	}
	return -1
}

// back undoes what was done since the savepoint, which stays.
func (t *txn) back(i int) {
	t.undo(t.savepoints[i].work)
	t.savepoints = t.savepoints[:i+1]
}

func (t *txn) undo(w work) {
	t.unlock(len(w.locks))
	t.ops = t.ops[:len(w.ops)]
	t.deferred, t.immediate, t.settings = slices.Clone(w.deferred), w.immediate, w.settings
}

// unlock lets all but the first locks go. Who waits for the transaction looks again.
func (t *txn) unlock(kept int) {
	for i := len(t.locks) - 1; i >= kept; i-- {
		t.locks[i]()
	}
	t.locks = t.locks[:kept]
	t.wakeWaiters()
}

func (t *txn) wakeWaiters() {
	for _, s := range t.waiters {
		s.woken = true
		s.cond.Broadcast()
	}
	t.waiters = nil
}

// release makes the savepoint's work that of what was before it.
func (t *txn) release(i int) { t.savepoints = t.savepoints[:i] }

// end lets the locks go. What is not committed is gone with it.
func (t *txn) end() {
	if t.over {
		return
	}
	t.over = true
	for i := len(t.locks) - 1; i >= 0; i-- {
		t.locks[i]()
	}
	t.locks, t.ops = nil, nil
	t.wakeWaiters()
}
