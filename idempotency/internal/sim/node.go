package sim

import (
	"slices"
	"syscall"
	"time"

	"github.com/onceql/onceql/idempotency/internal/store"
)

// A node is one PostgreSQL server.
type node struct {
	c    *Cluster
	name string
	// log has the commits that are durable here, and state what they amount to as far as
	// they are visible.
	log   []*record
	state state
	// upstream is the primary that a standby follows, and nil for a primary. A detached
	// standby receives nothing.
	upstream *node
	detached bool
	// synchronous says that commits wait for a standby.
	synchronous bool
	// down says that the server does not run, fenced that it must not start as what it was,
	// frozen that it stands still, lying that its advisory locks are given to everyone. shift
	// is how far its clock is ahead.
	down, fenced, frozen, lying bool
	shift                       time.Duration

	sessions []*session
	locks    map[int64]*advisory
	rows     map[rowID]*txn
	// queues are who waits for a row, in the order in which they get it.
	queues map[rowID][]*txn
	// inserting has the transactions that have put a key in and are not visible yet.
	inserting map[store.Key][]*txn
	draws     *Stream
}

func newNode(c *Cluster, name string) *node {
	n := &node{c: c, name: name, draws: c.Stream(name)}
	n.start()
	return n
}

// start begins with what is durable.
func (n *node) start() {
	n.down, n.fenced, n.frozen = false, false, false
	n.locks, n.inserting = map[int64]*advisory{}, map[store.Key][]*txn{}
	n.rows, n.queues = map[rowID]*txn{}, map[rowID][]*txn{}
	n.state = replay(n.log)
	n.sessions = nil
}

// stop ends the server without a word to anyone. What is not durable is gone.
func (n *node) stop() {
	n.down = true
	for _, s := range n.sessions {
		s.gone = true
		s.link.sever(syscall.ECONNRESET)
		s.cond.Broadcast()
	}
}

// thaw lets the server go on.
func (n *node) thaw() {
	n.frozen = false
	for _, s := range n.sessions {
		s.cond.Broadcast()
	}
}

// clock is the node's time, which Postgres keeps in microseconds.
func (n *node) clock() time.Time { return time.Now().Add(n.shift).UTC().Truncate(time.Microsecond) }

// append makes a commit durable, sends it to the standby, and returns its position.
func (n *node) append(r *record) int {
	n.log = append(n.log, r)
	for _, standby := range n.c.nodes {
		if standby.upstream == n {
			n.c.after(n.c.config.Delay/10+standby.draws.Below(n.c.config.Delay), standby.receive)
		}
	}
	return len(n.log)
}

// receive takes what the primary has in its log, and acknowledges it.
func (n *node) receive() {
	from := n.upstream
	if from == nil || from.down || n.detached || n.down {
		return
	}
	if n.frozen {
		n.c.after(n.c.config.Delay+n.draws.Below(n.c.config.Delay), n.receive)
		return
	}
	for _, r := range from.log[len(n.log):] {
		n.log = append(n.log, r)
		n.state.apply(r)
	}
	for _, s := range from.sessions {
		s.cond.Broadcast()
	}
}

// confirmed says whether a standby has the commits up to the position.
func (n *node) confirmed(position int) bool {
	for _, standby := range n.c.nodes {
		if standby.upstream == n && len(standby.log) >= position {
			return true
		}
	}
	return false
}

// after calls f with the mutex once d is over.
func (c *Cluster) after(d time.Duration, f func()) {
	time.AfterFunc(c.instant(d), func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.closed {
			f()
		}
	})
}

// crash stops the node, and starts it again after a while.
func (n *node) crash(pause time.Duration) {
	if n.down {
		return
	}
	n.c.note(n.name, "crashes")
	n.stop()
	n.c.after(pause, func() {
		if n.down && !n.fenced {
			n.start()
			n.c.note(n.name, "starts")
			for _, standby := range n.c.nodes {
				standby.receive()
			}
		}
	})
}

// promote makes a standby the primary. Unless it is left alone, the old primary is stopped
// first; it comes back as a standby after a while.
func (n *node) promote(alone bool, rejoin time.Duration) {
	if n.upstream == nil || n.down {
		return
	}
	old := n.upstream
	if !alone {
		old.stop()
		old.fenced = true
	}
	n.c.note(n.name, "is promoted")
	n.upstream, n.detached, n.synchronous = nil, false, false
	n.c.primary = n
	n.c.after(rejoin, func() { old.follow(n, rejoin) })
}

// follow makes the node a standby of the primary, with what that has, once that runs.
func (n *node) follow(primary *node, pause time.Duration) {
	if primary.down {
		n.c.after(pause, func() { n.follow(primary, pause) })
		return
	}
	n.stop()
	n.log = slices.Clone(primary.log)
	n.start()
	n.upstream, n.detached, n.synchronous = primary, false, false
	primary.synchronous = n.c.config.Synchronous
	n.c.note(n.name, "follows", primary.name)
}
