package db

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

var (
	// ErrReadOnly reports a server that answers and takes no writes: a standby, or a
	// primary that was demoted.
	ErrReadOnly = errors.New("the database is read-only")
	// ErrCommitsWait reports a primary whose commits wait for a standby that is missing.
	ErrCommitsWait = errors.New("commits wait for a standby")
	// errStale reports a server that takes writes, and was left behind by a promotion.
	errStale = errors.New("an old primary, which should be fenced: another server was promoted since")
)

// A Cluster is the servers that a database URL names. One of them is the primary, and the
// pools' connections go there.
//
// When the URL names several, Check finds the primary: the server that takes writes and
// whose timeline, which a promotion makes longer by one, is the newest. When that is
// another one than before, connections to any other server are closed at once, whatever
// runs on them. That frees callers of a primary that fell silent, and ends writes to one
// that nobody fenced, as soon as Check notices. It is no fence: writes until then are
// lost, and so are those of others.
//
// It is safe for use by many goroutines, but for Check and Close, which one at a time may
// call.
type Cluster struct {
	config *pgxpool.Config
	hosts  []*host
	log    *slog.Logger
	asking sync.WaitGroup

	mu sync.Mutex
	// began is when the last check did.
	began time.Time
	// noted is closed when a host was asked, and made anew.
	noted chan struct{}
	// primary is nil until a host was found to take writes.
	primary *host
	// newest are the timelines that were seen last, by the system that they are of:
	// timelines of different systems can't be compared.
	newest map[string]uint32
	links  map[*link]struct{}
	pools  []*pgxpool.Pool
	// trying says that tryCommit runs, and tried when it last began.
	trying bool
	tried  time.Time
}

// NewCluster returns the servers of the database at url. It does not connect yet: a
// database that is away for the moment is no error. Notices that Postgres sends, a
// warning on a COMMIT among them, go to log.
func NewCluster(url string, log *slog.Logger) (*Cluster, error) {
	config, err := configure(url, log)
	if err != nil {
		return nil, err
	}
	c := &Cluster{
		config: config, log: log,
		noted:  make(chan struct{}),
		newest: map[string]uint32{},
		links:  map[*link]struct{}{},
	}
	c.hosts = hostsOf(&config.ConnConfig.Config)
	return c, nil
}

// Trace has the statements of the pools that are opened from now on recorded, where tracer
// is not nil.
func (c *Cluster) Trace(tracer pgx.QueryTracer) { c.config.ConnConfig.Tracer = tracer }

// Open returns a pool of at most maxConns connections. It does not connect yet.
func (c *Cluster) Open(ctx context.Context, maxConns int32) (*pgxpool.Pool, error) {
	config := c.config.Copy()
	config.MaxConns = maxConns
	config.MaxConnLifetimeJitter = 5 * time.Minute
	// A connection that was idle is tried first. One that fell silent, as behind a firewall
	// that forgot it, must not take a call's whole budget.
	config.PingTimeout = cmp.Or(config.PingTimeout, pingTimeout)
	if c.several() {
		config.BeforeConnect = c.lead
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("opening the pool: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pools = append(c.pools, pool)
	return pool, nil
}

const pingTimeout = 2 * time.Second

// several says whether the URL names several servers. Of one there is nothing to choose.
func (c *Cluster) several() bool { return len(c.hosts) > 1 }

// Find looks for the primary, where there is something to choose, so that connections go
// there from the start. It takes a moment, and a few seconds when a server is silent.
func (c *Cluster) Find(ctx context.Context) {
	if !c.several() {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	_ = c.Check(ctx) // Check will be asked again.
}

// askAgain is how long after a host it is asked again, while others have not answered.
const askAgain = 500 * time.Millisecond

// Check asks all of the servers at once. It returns nil as soon as the primary says that
// it takes writes. Else it returns ErrCommitsWait when the primary's commits wait,
// ErrReadOnly when every server answers and takes no writes, and otherwise why they do not
// answer. A database that has no connection to spare is busy, not away.
func (c *Cluster) Check(ctx context.Context) error {
	began := time.Now()
	c.mu.Lock()
	c.began = began
	c.mu.Unlock()
	for {
		c.mu.Lock()
		known, err := c.verdict(began)
		for _, h := range c.hosts {
			if !known && !h.busy && (h.asked.Before(began) || time.Since(h.asked) >= askAgain) {
				h.busy, h.asked = true, time.Now()
				c.asking.Go(func() { c.note(ctx, h, h.ask(ctx, c.several())) })
			}
		}
		noted := c.noted
		c.mu.Unlock()
		if known {
			return err
		}
		select {
		case <-noted:
		case <-time.After(askAgain):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// verdict is what was found since then, once it is known. The caller holds the mutex.
func (c *Cluster) verdict(since time.Time) (known bool, err error) {
	if p := c.primary; p != nil && p.noted.After(since) && p.found.err == nil {
		if p.found.commitsWait {
			return true, ErrCommitsWait
		}
		return true, nil
	}
	readOnly := true
	var silent []string
	for _, h := range c.hosts {
		switch {
		case !h.noted.After(since):
			return false, nil
		case h.found.full && c.primary == nil:
			return true, nil
		case h.found.err == nil:
			continue // It is full.
		}
		err = h.found.err
		readOnly = readOnly && errors.Is(err, ErrReadOnly)
		silent = append(silent, fmt.Sprintf("%s: %v", h.name, err))
	}
	switch {
	case readOnly && len(silent) > 0:
		return true, ErrReadOnly
	case c.several():
		return true, errors.New(strings.Join(silent, "; "))
	}
	return true, err
}

// note stores what the host was found to be, and has the pools follow the primary.
func (c *Cluster) note(ctx context.Context, h *host, found finding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := h.found
	if found.err != nil || found.full { // It does not say what it is.
		found.system, found.timeline = before.system, before.timeline
	}
	newest := c.newest[found.system]
	if found.err == nil && found.timeline > newest {
		c.newest[found.system] = found.timeline
	}
	h.found, h.noted, h.busy = found, time.Now(), false
	for _, other := range c.hosts {
		if other.found.err != nil || !c.stale(other.found) {
			continue
		}
		other.found.err = errStale
		if other != h || !errors.Is(before.err, errStale) {
			c.log.Warn("an old primary takes writes: fence it", "host", other.name)
		}
	}
	switch {
	case h.found.err == nil && found.timeline > newest && c.primary != nil && c.primary.found.system == found.system:
		// It was promoted.
		c.follow(h)
	case c.primary == nil || c.primary.found.err != nil:
		c.elect()
	}
	if h == c.primary {
		if found.oldHung { // So may whatever else is idle: its server's address may have moved.
			c.reset()
		}
		if found.alone {
			c.tryCommit(ctx, h)
		}
	}
	close(c.noted)
	c.noted = make(chan struct{})
}

// elect makes the first server the primary that takes writes, once all were asked. The
// caller holds the mutex.
func (c *Cluster) elect() {
	for _, h := range c.hosts {
		if !h.noted.After(c.began) {
			return
		}
	}
	for _, h := range c.hosts {
		if h.found.err == nil && !h.found.full && !c.foreign(h) {
			c.follow(h)
			return
		}
	}
}

// foreign says whether the host is of another system than the primary: its data are
// others, so nobody is led there, however long the primary is away. The caller holds the
// mutex.
func (c *Cluster) foreign(h *host) bool {
	return c.primary != nil && c.primary.found.system != "" && h.found.system != c.primary.found.system
}

// stale says whether a promotion left the server behind. The caller holds the mutex.
func (c *Cluster) stale(found finding) bool { return found.timeline < c.newest[found.system] }

// follow makes the host the primary. The caller holds the mutex.
func (c *Cluster) follow(h *host) {
	if h == c.primary {
		return
	}
	if c.primary != nil {
		c.log.Warn("the primary is another server", "host", h.name, "before", c.primary.name)
	}
	old := c.primary
	c.primary = h
	for l := range c.links {
		// Without a promotion both lead to one primary, and what runs may go on: unless
		// the old way there is silent.
		if l.host != h && (old == nil || h.found.timeline != old.found.timeline || errors.Is(old.found.err, context.DeadlineExceeded)) {
			l.cut()
		}
	}
	c.reset()
}

// reset has the pools replace the connections that they have. The caller holds the mutex.
func (c *Cluster) reset() {
	for _, pool := range c.pools {
		pool.Reset()
	}
}

// Close ends the probe's connections. The cluster stays usable, and so do the pools.
func (c *Cluster) Close(ctx context.Context) {
	c.asking.Wait()
	for _, h := range c.hosts {
		h.close(ctx)
	}
}

// A host is one of a cluster's servers, and the probe's connection to it.
type host struct {
	name string
	// config is that of connections to this server alone.
	config *pgconn.Config
	// conn belongs to ask, which one goroutine at a time runs.
	conn *pgconn.PgConn
	// These say that the connection's server can't tell its timeline, or of standbys.
	noTimeline, noStandby bool

	// The cluster's mutex guards what is below.
	busy         bool
	asked, noted time.Time
	found        finding
}

// hostsOf returns the servers that the configuration names, each once.
func hostsOf(config *pgconn.Config) []*host {
	configs := []*pgconn.FallbackConfig{{Host: config.Host, Port: config.Port, TLSConfig: config.TLSConfig}}
	var hosts []*host
	byName := map[string]*host{}
	for _, f := range append(configs, config.Fallbacks...) {
		name := net.JoinHostPort(f.Host, strconv.Itoa(int(f.Port)))
		if h := byName[name]; h != nil { // With TLS and without.
			h.config.Fallbacks = append(h.config.Fallbacks, f)
			continue
		}
		only := config.Copy()
		only.Host, only.Port, only.TLSConfig, only.Fallbacks = f.Host, f.Port, f.TLSConfig, nil
		only.ConnectTimeout = min(only.ConnectTimeout, probeTimeout)
		h := &host{name: name, config: only}
		byName[name] = h
		hosts = append(hosts, h)
	}
	if len(hosts) > 1 {
		for _, h := range hosts {
			// Standbys are asked too, and old primaries, where these connections stay.
			h.config.ValidateConnect = nil
			h.config.RuntimeParams["application_name"] += " probe"
		}
	}
	return hosts
}
