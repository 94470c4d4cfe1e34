package sim_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/idempotency/internal/sim"
)

// draw draws faults.
func draw(random *sim.Stream) []sim.Fault {
	below := func(n int) int { return int(random.Uint64() % uint64(n)) }
	steps := []string{
		sim.StepDial, sim.StepStartup, sim.StepRequest, sim.StepReply, sim.StepFlush, sim.StepStandby, sim.StepVisible,
		sim.StepUnlock, sim.StepAnswered, "claim", "claim one", "find one", "effect", "effects", "restore", "insert", "insert one", "commit",
	}
	codes := []string{"57014", "40001", "40P01", "55P03", "57P01", "53300", "08006"}
	var faults []sim.Fault
	for range below(5) {
		f := sim.Fault{Step: steps[below(len(steps))], Count: 1 + below(4), N: below(200) - 1, For: time.Duration(below(3e6)) * time.Microsecond}
		switch below(10) {
		case 0:
			f.Do = sim.Drop
		case 1:
			f.Do = sim.Silence
		case 2:
			f.Do = sim.Crash
		case 3:
			f.Do = sim.FreezeNode
		case 4:
			f.Do = sim.Delay
		case 5:
			f.Do = sim.Freeze
		case 6, 7:
			f.Do = sim.Cut
		case 8:
			f.Do, f.Code = sim.Fail, codes[below(len(codes))]
			if f.Step == sim.StepRequest || f.Step == sim.StepReply {
				f.Step = "effect"
			}
		case 9:
			f.Do = sim.Promote
		}
		if below(2) == 0 {
			f.Client = fmt.Sprintf("server%d", 1+below(2))
		}
		faults = append(faults, f)
	}
	return faults
}

// run runs clients that retry on two servers, and returns what happened.
func run(t *testing.T, seed uint64) string {
	var history []string
	synctest.Test(t, func(t *testing.T) {
		c := sim.New(sim.Config{Seed: seed, Synchronous: true, Refused: func(sql string) { t.Errorf("unknown statement: %s", sql) }})
		faults := draw(c.Stream("faults"))
		c.Arm(faults)
		var servers []*idempotency.Batch[int64, int64]
		var engines []*idempotency.Engine
		var ends []func()
		for i := range 2 {
			name := fmt.Sprintf("server%d", i+1)
			config := c.Pool(name)
			config.MaxConns = 6
			pool := newPool(t, config)
			engine := idempotency.New(pool, idempotency.Config{Random: c.Stream(name + " engine"), PurgeEvery: -1})
			engines = append(engines, engine)
			servers = append(servers, idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), writeAll))
			ends = append(ends, func() {
				if err := engine.Close(context.Background()); err != nil {
					t.Error(err)
				}
				pool.Close()
			})
		}
		var mu sync.Mutex
		acknowledged := map[string]int64{}
		var clients sync.WaitGroup
		for i := range 8 {
			name := fmt.Sprintf("client%d", i+1)
			clients.Go(func() {
				random := c.Stream(name)
				key := fmt.Sprintf("k%d", random.Uint64()%3)
				for range 20 {
					time.Sleep(c.Instant(random.Below(10 * time.Millisecond)))
					at := random.Uint64() % 2
					ctx, cancel := context.WithTimeout(context.Background(), c.Instant(7*time.Second))
					var o idempotency.Outcome[int64]
					var err error
					if random.Uint64()%2 == 0 {
						o, err = servers[at].Do(ctx, call(key, key), 1)
					} else {
						o, err = idempotency.Do(ctx, engines[at], call(key, key), write(key, 1))
					}
					cancel()
					time.Sleep(c.Instant(random.Below(time.Millisecond))) // Others are answered at the same instant.
					c.Note(name, fmt.Sprintf("%s %+v %v", key, o, err))
					if err == nil {
						mu.Lock()
						if before, there := acknowledged[key]; there && before != o.Value {
							t.Errorf("%s has the value %d and %d", key, before, o.Value)
						}
						acknowledged[key] = o.Value
						mu.Unlock()
						break
					}
					if !errors.Is(err, idempotency.ErrUnavailable) && !errors.Is(err, idempotency.ErrInProgress) && !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("%s: %v", name, err)
					}
					time.Sleep(c.Instant(100*time.Millisecond + random.Below(time.Second)))
				}
			})
		}
		clients.Wait()
		count := map[string]int{}
		for _, e := range c.Effects() {
			count[e.Key]++
		}
		for key := range acknowledged {
			if count[key] != 1 {
				t.Errorf("%s has %d effects", key, count[key])
			}
		}
		if len(acknowledged) != len(c.Keys()) {
			t.Errorf("%d keys are acknowledged, %d are there", len(acknowledged), len(c.Keys()))
		}
		for _, end := range ends {
			end()
		}
		c.Close()
		for _, f := range faults {
			history = append(history, f.String())
		}
		for _, e := range c.History() {
			history = append(history, e.String())
		}
	})
	return strings.Join(history, "\n")
}

// The same seed gives the same history.
func TestSeeds_GiveTheSameHistoryTwice(t *testing.T) {
	for seed := range uint64(200) {
		first, second := run(t, seed), run(t, seed)
		if first != second {
			a, b := strings.Split(first, "\n"), strings.Split(second, "\n")
			for i := range min(len(a), len(b)) {
				if a[i] != b[i] {
					t.Fatalf("seed %d, line %d of %d and %d:\n%s\n%s", seed, i, len(a), len(b), strings.Join(a[max(0, i-30):i+1], "\n"), b[i])
				}
			}
			t.Fatalf("seed %d: %d and %d lines", seed, len(a), len(b))
		}
		if t.Failed() {
			t.Fatalf("seed %d:\n%s", seed, first)
		}
		sim.Collect()
	}
}
