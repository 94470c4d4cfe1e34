package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
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
	"github.com/onceql/onceql/idempotency"
)

const (
	workers = 250
	pace    = 30 * time.Millisecond
	// settleTimeout is how long keys may take to be settled once everything is healed.
	settleTimeout = 30 * time.Second
	// quiet is how long executions that nobody waits for may go on: a server's
	// IDEMPOTENCY_BUDGET and a little more.
	quiet = 4 * time.Second
)

// An experiment is a run in its sandbox.
type experiment struct {
	options
	work    string
	start   time.Time
	cluster *cluster.Cluster
	fleet   *fleet.Fleet
	chaos   *chaos
	engine  *idempotency.Engine
	load    *load.Load

	report report
	// unknown is how many unknown commits the report has.
	unknown int
	// told is how often each sign was seen before.
	told map[string]int

	mu sync.Mutex
	// answers are those against the contract.
	answers []audit.Violation
}

// A sign shows a bug that may do no harm yet. It is never to be seen.
type sign struct {
	means string
	count func(*experiment) (int, error)
}

// said is the sign that PostgreSQL says so.
func said(what, means string) sign {
	return sign{means, func(e *experiment) (int, error) { return e.cluster.Said(what) }}
}

var signs = []sign{
	said(`violates unique constraint "idempotency_keys_pkey"`, "a key's insert lost a race, though its lock was held"),
	said(`in a read-only transaction`, "an effect ran on a standby"),
	{"a COMMIT was cancelled by the server sooner than its budget is over", func(e *experiment) (int, error) {
		return e.fleet.CommitsCancelled(), nil
	}},
}

// run runs the experiment and says whether a promise was broken. An error is this
// program's own.
func run(ctx context.Context, o options, work string) (violated bool, err error) {
	e := &experiment{options: o, work: work, told: make(map[string]int)}
	if err := e.report.open(o.record); err != nil {
		return false, err
	}
	switch {
	case e.seed != 0:
	case o.record != "":
		e.seed = e.report.Seed + 1
	default:
		e.seed = uint64(time.Now().Unix())
	}
	e.report.Seed = e.seed
	e.report.Runs++
	if err := e.prepare(ctx); err != nil {
		return false, errors.Join(err, e.keepLogs())
	}
	defer func() {
		for _, s := range e.fleet.All() {
			s.End()
		}
		if err != nil || violated {
			err = errors.Join(err, e.keepLogs())
		}
	}()
	e.start = time.Now()
	for n := 1; time.Since(e.start) < o.duration; n++ {
		violations, err := e.run(ctx, n, min(o.epoch, o.duration-time.Since(e.start)))
		if err != nil {
			return violated, err
		}
		if err := e.report.save(o.record); err != nil {
			return violated, err
		}
		violated = violated || len(violations) > 0
		if violated && o.untilViolation {
			break
		}
	}
	fmt.Println(e.report.line(e.seed))
	if e.report.Calls == 0 || len(e.report.Faults) == 0 {
		return violated, errors.New("nothing was tried, so nothing was shown")
	}
	return violated, nil
}

func (e *experiment) prepare(ctx context.Context) (err error) {
	if e.cluster, err = cluster.New(ctx, e.work); err != nil {
		return err
	}
	program := filepath.Join(e.work, current)
	if e.fleet, err = fleet.New(program, e.work); err != nil {
		return err
	}
	for _, s := range e.fleet.All() {
		if !s.Await(time.Minute) {
			return fmt.Errorf("the server %s does not serve", s.Name)
		}
	}
	e.chaos = newChaos(e.cluster, e.fleet, []string{program, filepath.Join(e.work, previous)})
	conn, err := e.connect(ctx)
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
	pool, err := pgxpool.New(ctx, "postgres://"+cluster.Role+"@127.0.0.1:5432,127.0.0.1:5433/"+cluster.Database+
		"?target_session_attrs=read-write&connect_timeout=2&sslmode=disable")
	if err != nil {
		return err
	}
	e.engine = idempotency.New(pool, idempotency.Config{Budget: 3 * time.Second, PurgeEvery: -1})
	e.load = &load.Load{Projects: projects, Forget: e.forget, Styles: load.Styles, Workers: workers, Pace: pace, Short: target(e.fleet.Short, program)}
	for _, s := range e.fleet.Servers {
		e.load.Servers = append(e.load.Servers, target(s, program))
	}
	return nil
}

func target(s *fleet.Server, program string) load.Target {
	return load.Target{Name: s.Name, URL: s.URL(), Other: func() bool { return !s.Runs(program) }}
}

func (e *experiment) connect(ctx context.Context) (*pgx.Conn, error) {
	return pgx.Connect(ctx, e.cluster.Primary().URL(cluster.Database))
}

// forget forgets the key of the tenant that everyone is.
func (e *experiment) forget(ctx context.Context, key string) history.Outcome {
	there, err := e.engine.Forget(ctx, "", key)
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

// classOf is what the kind of key is promised.
func classOf(key string) audit.Class {
	if strings.HasPrefix(key, load.Short) {
		return audit.Class{TTL: fleet.ShortTTL, Retention: fleet.ShortRetention, Purged: true}
	}
	return audit.Class{TTL: 24 * time.Hour, Retention: 72 * time.Hour, Forgotten: strings.HasPrefix(key, load.Forgotten)}
}

// run has faults happen to the calls for so long, heals everything, and checks.
func (e *experiment) run(ctx context.Context, n int, duration time.Duration) ([]audit.Violation, error) {
	began := time.Now()
	calls := new(history.History)
	e.load.Client = load.NewClient(calls, began, func(key, what string) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.answers = append(e.answers, audit.Violation{Key: key, What: what})
	})
	seed := e.seed<<16 + uint64(n)
	e.chaos.draw(seed)
	running, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	called := make(chan struct{})
	go func() {
		defer close(called)
		e.load.Run(running, fmt.Sprint(n), seed)
	}()
	err := e.chaos.run(running)
	if err != nil {
		return nil, err
	}
	<-called
	healed := time.Now()
	settling, done := context.WithTimeout(ctx, settleTimeout)
	defer done()
	open, unsettled := e.load.Settle(settling)
	settled := time.Since(healed)
	time.Sleep(quiet)
	found, err := e.check(ctx, calls, time.Since(began))
	if err != nil {
		return nil, err
	}
	for _, key := range unsettled {
		found.Violations = append(found.Violations, audit.Violation{Key: key, What: fmt.Sprintf("not settled %s after everything was healed", settleTimeout)})
	}
	e.tell(calls, found.Violations)
	e.account(calls, found, time.Since(began))
	slog.Info("checked", "epoch", n, "calls", calls.Len(), "keys", len(calls.Keys()), "open", open, "settledIn", settled.Round(time.Millisecond),
		"violations", len(found.Violations), "took", time.Since(began).Round(time.Second))
	return found.Violations, nil
}

// check compares the callers' histories with the database's, and makes room for the next.
func (e *experiment) check(ctx context.Context, calls *history.History, now time.Duration) (found audit.Result, err error) {
	conn, err := e.connect(ctx)
	if err != nil {
		return found, err
	}
	defer func() { _ = conn.Close(ctx) }()
	if found, err = audit.Compare(ctx, conn, calls, classOf, now); err != nil {
		return found, err
	}
	violated := func(v audit.Violation) { found.Violations = append(found.Violations, v) }
	for _, key := range calls.Keys() {
		if !classOf(key).Purged && !history.Linearizable(calls.Of(key)) {
			violated(audit.Violation{Key: key, What: "its callers can't have heard this one after another"})
		}
	}
	e.mu.Lock()
	found.Violations = append(found.Violations, e.answers...)
	e.answers = nil
	e.mu.Unlock()
	for _, sign := range signs {
		n, err := sign.count(e)
		if err != nil {
			return found, err
		}
		if n > e.told[sign.means] {
			violated(audit.Violation{What: fmt.Sprintf("%d times: %s", n-e.told[sign.means], sign.means)})
			e.told[sign.means] = n
		}
	}
	return found, audit.Clear(ctx, conn)
}

// tell writes the violations and the histories of their keys.
func (e *experiment) tell(calls *history.History, violations []audit.Violation) {
	const most = 20
	for i, v := range violations {
		if i == most {
			fmt.Printf("and %d violations more\n", len(violations)-most)
			break
		}
		fmt.Printf("VIOLATION seed %d: %s\n", e.seed, v.What)
		if v.Key != "" {
			fmt.Print(calls.Text(v.Key))
		}
	}
}

// account adds an epoch to the report.
func (e *experiment) account(calls *history.History, found audit.Result, took time.Duration) {
	epoch := report{
		Calls: calls.Len(), UnknownCommits: e.fleet.UnknownCommits() - e.unknown,
		Purged: found.Purged, Forgotten: found.Forgotten, Violations: len(found.Violations), Seconds: took.Seconds(),
	}
	e.unknown += epoch.UnknownCommits
	epoch.Faults, epoch.Stepped = e.chaos.takeCounts()
	e.report.add(epoch)
}

// keepLogs copies the logs of a run whose directory is about to go.
func (e *experiment) keepLogs() error {
	if e.logs == "" {
		return nil
	}
	if err := os.MkdirAll(e.logs, 0o755); err != nil { //nolint:gosec // It holds test data.
		return err
	}
	logs, err := filepath.Glob(filepath.Join(e.work, "*.log"))
	for _, path := range slices.Sorted(slices.Values(logs)) {
		err = errors.Join(err, copyFile(path, filepath.Join(e.logs, filepath.Base(path))))
	}
	return err
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
