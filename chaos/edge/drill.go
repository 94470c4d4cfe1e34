package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/chaos/audit"
	"github.com/onceql/onceql/chaos/cluster"
	"github.com/onceql/onceql/chaos/fleet"
	"github.com/onceql/onceql/chaos/history"
	"github.com/onceql/onceql/chaos/load"
	"github.com/onceql/onceql/chaos/sandbox"
	"github.com/onceql/onceql/idempotency"
)

const (
	workers = 24
	pace    = 60 * time.Millisecond
	// settleTimeout is how long keys may take to be settled once all is well.
	settleTimeout = time.Minute
	// quiet is how long executions that nobody waits for may go on: a server's
	// IDEMPOTENCY_BUDGET and a little more.
	quiet = 11 * time.Second
	// timeLimit bounds a run that does not come to its calls and faults.
	timeLimit = 20 * time.Minute
)

// A drill is a run in its sandbox.
type drill struct {
	options
	work, edge string
	cluster    *cluster.Cluster
	fleet      *fleet.Fleet
	process    *sandbox.Process
	engine     *idempotency.Engine
	load       *load.Load
	calls      *history.History
	start      time.Time

	mu sync.Mutex
	// answers are those against the contract.
	answers []audit.Violation
}

// run runs the drill of the edge, and says whether every promise was kept.
func run(ctx context.Context, o options, work string) (good bool, err error) {
	d := &drill{options: o, work: work, edge: os.Getenv(edgeMarker), calls: new(history.History)}
	defer func() {
		d.end()
		if err != nil || !good {
			err = errors.Join(err, d.keepLogs())
		}
	}()
	if o.upgrade {
		return d.upgrade(ctx)
	}
	return d.faults(ctx)
}

// faults has the servers fail under load.
func (d *drill) faults(ctx context.Context) (good bool, err error) {
	if err := d.prepare(ctx, current, nil); err != nil {
		return false, err
	}
	running, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	m := newMisfortune(d.fleet, filepath.Join(d.work, current), d.seed, d.start)
	called := make(chan struct{})
	go func() {
		defer close(called)
		d.load.Run(running, "1", d.seed)
	}()
	failing, stop := context.WithCancel(running)
	defer stop()
	failed := make(chan struct{})
	go func() {
		defer close(failed)
		m.run(failing)
	}()
	// Faults go on until there are enough of calls, of faults and of time.
	for time.Since(d.start) < d.duration || d.load.Client.Sent() < d.options.calls || m.count() < d.options.faults {
		if running.Err() != nil {
			return false, fmt.Errorf("only %d calls and %d faults in %s", d.load.Client.Sent(), m.count(), timeLimit)
		}
		time.Sleep(100 * time.Millisecond)
	}
	stop()
	<-failed
	cancel()
	<-called
	r, err := d.check(ctx)
	if err != nil {
		return false, err
	}
	r.attribute(m.faults, d.calls, kinds[d.edge].buffered < large)
	fmt.Print(r.text(d.calls))
	return r.good(d.options.healed), nil
}

// migrate is a step of its own before the servers, which may not: `onceql migrate up` as the
// tables' owner.
func (d *drill) migrate(program string) error {
	command := exec.Command(filepath.Join(d.work, program), "migrate", "up")
	url := func(role string) string {
		return "postgres://" + role + "@127.0.0.1:5432/" + cluster.Database + "?sslmode=disable"
	}
	command.Env = append(os.Environ(), "DATABASE_URL="+url(cluster.Role), "MIGRATION_DATABASE_URL="+url(cluster.Owner))
	command.Dir = "/"
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s migrate up: %w\n%s", program, err, output)
	}
	return nil
}

func databaseURL(role string) string {
	return "postgres://" + role + "@127.0.0.1:5432/" + cluster.Database + "?sslmode=disable"
}

// prepare starts the database, the edge, and two servers of the program.
func (d *drill) prepare(ctx context.Context, program string, envOf map[string][]string) (err error) {
	if d.cluster, err = cluster.Alone(ctx, d.work); err != nil {
		return err
	}
	if err := d.migrate(program); err != nil {
		return err
	}
	if d.fleet, err = fleet.Pair(filepath.Join(d.work, program), d.work, envOf, "ALLOWED_HOSTS="+host, "DRAIN_DELAY="+drainDelay.String()); err != nil {
		return err
	}
	var servers []string
	for _, s := range d.fleet.Servers {
		if !s.Await(time.Minute) {
			return fmt.Errorf("the server %s does not serve", s.Name)
		}
		servers = append(servers, strings.TrimPrefix(s.URL(), "http://"))
	}
	log, err := os.OpenFile(filepath.Join(d.work, "edge.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644) //nolint:gosec // It holds test data.
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	k := kinds[d.edge]
	if d.process, err = k.start(d.work, log, servers); err != nil {
		return err
	}
	if err := k.await(d.process); err != nil {
		return err
	}
	return d.prepareLoad(ctx)
}

func (d *drill) prepareLoad(ctx context.Context) error {
	conn, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	projects := make([]string, 200)
	for i := range projects {
		projects[i] = uuid.NewString()
	}
	if err := audit.Install(ctx, conn, projects); err != nil {
		return err
	}
	pool, err := pgxpool.New(ctx, databaseURL(cluster.Role))
	if err != nil {
		return err
	}
	d.engine = idempotency.New(pool, idempotency.Config{PurgeEvery: -1})
	d.start = time.Now()
	d.load = &load.Load{
		Projects: projects, Forget: d.forget, Workers: workers, Pace: pace, Servers: []load.Target{edge}, LargeBody: large,
		// A quarter loses answers of its own accord.
		Styles: []load.Style{load.Patient, load.Patient, load.Patient, load.Hurried},
		Client: load.NewClient(d.calls, d.start, d.violated),
	}
	return nil
}

func (d *drill) violated(key, what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answers = append(d.answers, audit.Violation{Key: key, What: what})
}

func (d *drill) connect(ctx context.Context) (*pgx.Conn, error) {
	return pgx.Connect(ctx, d.cluster.Primary().URL(cluster.Database))
}

// forget forgets the key of the tenant that everyone is.
func (d *drill) forget(ctx context.Context, key string) history.Outcome {
	there, err := d.engine.Forget(ctx, "", key)
	switch {
	case errors.Is(err, idempotency.ErrInProgress):
		return history.Refused
	case err != nil:
		return history.Unknown
	case there:
		return history.Forgotten
	}
	return history.NothingToForget
}

// check settles the keys whose callers heard nothing, and compares the callers' histories
// with the database's.
func (d *drill) check(ctx context.Context) (*report, error) {
	sent := d.load.Client.Sent()
	settling, done := context.WithTimeout(ctx, settleTimeout)
	defer done()
	_, unsettled := d.load.Settle(settling)
	d.awaitQuiet(ctx)
	conn, err := d.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(ctx) }()
	found, err := audit.Compare(ctx, conn, d.calls, func(key string) audit.Class {
		return audit.Class{TTL: 24 * time.Hour, Retention: 72 * time.Hour, Forgotten: strings.HasPrefix(key, load.Forgotten), Longer: d.options.upgrade}
	}, time.Since(d.start))
	if err != nil {
		return nil, err
	}
	violations := append(found.Violations, d.answers...)
	for _, key := range unsettled {
		violations = append(violations, audit.Violation{Key: key, What: "no answer though all is well for " + settleTimeout.String()})
	}
	for _, key := range d.calls.Keys() {
		if !history.Linearizable(history.BehindEdge(d.calls.Of(key))) {
			violations = append(violations, audit.Violation{Key: key, What: "its callers can't have heard this one after another"})
		}
	}
	r := &report{edge: d.edge, seed: d.seed, calls: sent, keys: len(d.calls.Keys()), unsettled: len(unsettled), violations: violations, took: time.Since(d.start)}
	r.retries, err = kinds[d.edge].retries(d.work)
	return r, err
}

// awaitQuiet waits until nothing executes any more, for quiet at most.
func (d *drill) awaitQuiet(ctx context.Context) {
	for deadline := time.Now().Add(quiet); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		conn, err := d.connect(ctx)
		if err != nil {
			continue
		}
		busy := 1
		_ = conn.QueryRow(ctx, `select count(*) from pg_stat_activity where usename = $1 and state <> 'idle'`, cluster.Role).Scan(&busy)
		_ = conn.Close(ctx)
		if busy == 0 {
			return
		}
	}
}

func (d *drill) end() {
	if d.fleet != nil {
		for _, s := range d.fleet.All() {
			s.End()
		}
	}
}

// keepLogs copies the logs of a run whose directory is about to go.
func (d *drill) keepLogs() error {
	if d.logs == "" {
		return nil
	}
	if err := os.MkdirAll(d.logs, 0o755); err != nil { //nolint:gosec // It holds test data.
		return err
	}
	logs, err := filepath.Glob(filepath.Join(d.work, "*.log"))
	if path := kinds[d.edge].log; filepath.IsAbs(path) {
		logs = append(logs, path)
	}
	for _, path := range logs {
		text, failed := os.ReadFile(path)
		if failed == nil {
			failed = os.WriteFile(filepath.Join(d.logs, d.edge+"-"+filepath.Base(path)), text, 0o644) //nolint:gosec // As above.
		}
		err = errors.Join(err, failed)
	}
	return err
}
