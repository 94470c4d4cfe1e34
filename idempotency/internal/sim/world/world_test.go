package world_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/idempotency/internal/sim"
	"github.com/onceql/onceql/idempotency/internal/store"
)

// A world is servers and clients around a simulated cluster, in a bubble of its own
// time.
type world struct {
	plan    plan
	cluster *sim.Cluster
	servers []*server
	start   time.Time

	mu       sync.Mutex
	attempts []attempt
}

// An account is what a world did, for those who check it.
type account struct {
	plan     plan
	history  []sim.Event
	attempts []attempt
	// keys are the rows that stand, removed those that were purged or forgotten.
	keys, removed []store.Row
	effects       []sim.Effect
	violations    violations
}

// run lets the plan happen.
func run(t *testing.T, p plan) (a account) {
	sim.Collect()
	synctest.Test(t, func(t *testing.T) {
		w := &world{plan: p, start: time.Now()}
		w.cluster = sim.New(sim.Config{
			Seed: p.seed, Faults: p.faults, Synchronous: p.synchronous,
			// As the schema has it, so that a schema without one is found out.
			NoPrimaryKey: !strings.Contains(idempotency.Schema, "primary key (scope, key)"),
			Refused:      func(sql string) { t.Errorf("seed %d: unknown statement %s", p.seed, sql) },
		})
		for n, s := range p.servers {
			w.servers = append(w.servers, newServer(w, n, s))
		}
		w.schedule()
		var clients sync.WaitGroup
		for n, i := range p.intents {
			after := w.cluster.Instant(i.at)
			clients.Go(func() { w.pursue(n, after) })
		}
		clients.Wait()
		w.sleepUntil(trouble + time.Second)
		for _, s := range w.servers {
			s.stop()
		}
		a = account{
			plan: p, history: w.cluster.History(), attempts: w.attempts,
			keys: w.cluster.Keys(), removed: w.cluster.Removed(), effects: w.cluster.Effects(),
		}
		w.cluster.Close()
	})
	// In one order: several may be answered at one moment.
	slices.SortFunc(a.attempts, func(a, b attempt) int { return cmp.Or(cmp.Compare(a.ended, b.ended), a.number-b.number) })
	a.check()
	return a
}

// schedule arms what becomes of the servers.
func (w *world) schedule() {
	for n, s := range w.plan.servers {
		for _, at := range s.kills {
			w.after(at, w.servers[n].kill)
			w.after(at+300*time.Millisecond, w.servers[n].begin)
		}
		for _, at := range s.deploys {
			w.after(at, w.servers[n].deploy)
		}
	}
}

func (w *world) after(at time.Duration, do func()) { time.AfterFunc(w.cluster.Instant(at), do) }

func (w *world) elapsed() time.Duration { return time.Since(w.start) }

func (w *world) sleep(d time.Duration) { time.Sleep(w.cluster.Instant(d)) }

func (w *world) sleepUntil(at time.Duration) { w.sleep(at - w.elapsed()) }

// text is the world's history, all of it.
func (a account) text() string {
	var text strings.Builder
	for _, e := range a.history {
		fmt.Fprintln(&text, e)
	}
	for _, at := range a.attempts {
		fmt.Fprintln(&text, at)
	}
	return text.String()
}
