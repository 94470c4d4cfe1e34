package sim

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// Config says what a cluster is like. Its zero value is ready for use.
type Config struct {
	// Seed decides all that is drawn.
	Seed uint64
	// Delay bounds how long a message takes from one end of a connection to the other, and
	// ten times of it how long a statement takes. Zero means a millisecond.
	Delay time.Duration
	// DeadlockTimeout is how long a session waits for another before it looks for a
	// deadlock. Zero means a second, as Postgres has it.
	DeadlockTimeout time.Duration
	// Synchronous makes commits wait until a standby has them.
	Synchronous bool
	// NoPrimaryKey leaves out the primary key of idempotency_keys.
	NoPrimaryKey bool
	// Faults are what goes wrong.
	Faults []Fault
	// Refused is told the text of a statement that the cluster does not know. Nil means a
	// panic. The client hears a syntax error.
	Refused func(sql string)
}

// A Cluster is a primary, db1, and its standby, db2, until one is promoted. It is safe for
// use by many goroutines, which have to be of the bubble that it was made in.
type Cluster struct {
	config Config
	began  time.Time
	// running are the sessions.
	running sync.WaitGroup

	// mu guards all that follows and whatever hangs from it. It is never held while a
	// goroutine sleeps or waits.
	mu       sync.Mutex
	types    *pgtype.Map
	nodes    []*node
	primary  *node
	residues residues
	dials    map[string]int
	faults   faults
	history  []Event
	pids     uint32
	effects  int64
	closed   bool
}

// New returns a cluster that runs until Close. It has to be called in a bubble of
// testing/synctest.
func New(config Config) *Cluster {
	if config.Delay == 0 {
		config.Delay = time.Millisecond
	}
	if config.DeadlockTimeout == 0 {
		config.DeadlockTimeout = time.Second
	}
	c := &Cluster{config: config, began: time.Now(), types: pgtype.NewMap(), dials: map[string]int{}}
	for _, name := range []string{"db1", "db2"} {
		c.nodes = append(c.nodes, newNode(c, name))
	}
	c.primary = c.nodes[0]
	c.nodes[1].upstream = c.primary
	c.primary.synchronous = config.Synchronous
	c.faults.steps, c.faults.counts = map[string][]*Fault{}, map[stepOf]int{}
	c.Arm(config.Faults)
	return c
}

// Close ends all connections, and waits for the goroutines that belong to them, those of
// pgx too.
func (c *Cluster) Close() {
	c.mu.Lock()
	c.closed = true
	for _, n := range c.nodes {
		n.stop()
	}
	c.mu.Unlock()
	c.running.Wait()
	time.Sleep(time.Minute) // What pgx cleans up behind it has 15 seconds for that.
}

// Lookup is pgx's LookupFunc: names of hosts stay as they are.
func Lookup(_ context.Context, host string) ([]string, error) { return []string{host}, nil }

// Dialer returns pgx's DialFunc for the client with the name. The host of the address is
// the node's name.
func (c *Cluster) Dialer(client string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		// pgx dials for a cancel request what the connection says of its other end.
		host, canceled, cancels := strings.Cut(host, " ")
		c.mu.Lock()
		defer c.mu.Unlock()
		n := c.node(host)
		if n == nil {
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		}
		name := canceled + " cancel"
		if !cancels {
			c.dials[client]++
			name = fmt.Sprintf("%s#%d", client, c.dials[client])
		}
		l := newLink(c, n, client, name)
		c.mu.Unlock()
		err = pause(ctx, c.Instant(l.delay()))
		c.mu.Lock()
		if err == nil && !cancels {
			err = l.step(StepDial)
		}
		if err == nil && (n.down || c.closed) {
			err = syscall.ECONNREFUSED
		}
		if err != nil {
			return nil, &net.OpError{Op: "dial", Net: network, Addr: address(addr), Err: err}
		}
		s := newSession(n, l)
		c.running.Go(s.serve)
		return &conn{link: l, in: &l.down, out: &l.up, addr: address(host + " " + name + ":5432")}, nil
	}
}

// pause waits, or returns the context's error when that ends first.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func (c *Cluster) node(name string) *node {
	for _, n := range c.nodes {
		if n.name == name {
			return n
		}
	}
	return nil
}

// now is the time since the cluster began.
func (c *Cluster) now() time.Duration { return time.Since(c.began) }

// An Event is one thing that happened.
type Event struct {
	// At is the time since the cluster began.
	At time.Duration
	// Who is a connection, or a node.
	Who string
	// What happened.
	What string
}

// String is the event's line of a history.
func (e Event) String() string {
	return fmt.Sprintf("%14.6fms %-12s %s", float64(e.At)/1e6, e.Who, e.What)
}

// History returns what happened so far.
func (c *Cluster) History() []Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Event(nil), c.history...)
}

// Note adds something of the caller's to the history.
func (c *Cluster) Note(who, what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.note(who, what)
}

func (c *Cluster) note(who string, what ...string) {
	c.history = append(c.history, Event{c.now(), who, strings.Join(what, " ")})
}
