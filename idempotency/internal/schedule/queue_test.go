package schedule_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/onceql/onceql/idempotency/internal/schedule"
)

// busy has one worker for single calls, which runs z0, and so many places.
func busy(t *testing.T, places int, body func(f *fixture, running *work)) {
	config := settings(1, 1)
	config.Queue = places
	simulate(t, config, func(f *fixture) {
		f.send("z0")
		body(f, f.execution("z0"))
	})
}

// runs checks that the calls that wait run in this order.
func (f *fixture) runs(running *work, names string) {
	f.t.Helper()
	for _, name := range strings.Fields(names) {
		running.resolve()
		running = f.execution(name)
	}
	running.resolve()
	f.quiet()
}

func TestQueue_ScopesTakeTurns(t *testing.T) {
	busy(t, 10, func(f *fixture, running *work) {
		f.sendAll("a1 a2 a3 a4 b1 b2 c1")
		f.runs(running, "a1 b1 c1 a2 b2 a3 a4")
	})
}

func TestQueue_AScopeThatComesBackWaitsForItsTurn(t *testing.T) {
	busy(t, 10, func(f *fixture, running *work) {
		f.sendAll("a1 b1 b2")
		running.resolve()
		running = f.execution("a1")
		f.send("a2")
		f.runs(running, "b1 a2 b2")
	})
}

func TestQueue_IsSharedFairlyWhenItIsFull(t *testing.T) {
	busy(t, 4, func(f *fixture, running *work) {
		refused := func(names string) {
			t.Helper()
			for _, name := range strings.Fields(names) {
				if !f.Refuses(name[:1]) {
					t.Errorf("%s is not refused", name)
				}
				f.send(name).fails(schedule.ErrFull)
			}
		}
		// One scope may have all places.
		calls := f.sendAll("a1 a2 a3 a4")
		refused("a5")
		// A newcomer takes the last place of the fullest scope, until that has no more
		// than it.
		for name, evicted := range map[string]string{"b1": "a4"} {
			if f.Refuses("b") {
				t.Errorf("%s is said to be refused", name)
			}
			f.send(name)
			calls[evicted].fails(schedule.ErrFull)
		}
		b2 := f.send("b2")
		calls["a3"].fails(schedule.ErrFull)
		refused("b3 a5")
		// Of a and b, which are as full, a has been so for longer.
		f.send("c1")
		calls["a2"].fails(schedule.ErrFull)
		f.send("d1")
		b2.fails(schedule.ErrFull)
		// One place each: there is none to give up.
		refused("e1 a6")
		f.runs(running, "a1 b1 c1 d1")
		if f.Refuses("a") {
			t.Error("the empty queue refuses")
		}
	})
}

func TestQueue_EveryCallerOfAnEvictedCallHearsIt(t *testing.T) {
	busy(t, 2, func(f *fixture, running *work) {
		f.send("a1")
		leader, follower := f.send("a2"), f.send("a2")
		f.send("b1")
		leader.fails(schedule.ErrFull)
		follower.fails(schedule.ErrFull)
		f.runs(running, "a1 b1")
	})
}

func TestQueue_FollowersNeedNoPlace(t *testing.T) {
	busy(t, 1, func(f *fixture, running *work) {
		queued := f.send("a1")
		followers := []*caller{f.send("z0"), f.send("a1")}
		f.send("a2").fails(schedule.ErrFull)
		f.runs(running, "a1")
		queued.hears()
		followers[0].hears()
		followers[1].hears()
	})
}

func TestQueue_APlaceComesBack(t *testing.T) {
	for name, free := range map[string]func(f *fixture, running *work, queued *caller){
		"when the caller leaves": func(_ *fixture, _ *work, queued *caller) { queued.leave() },
		"when a worker takes it": func(f *fixture, running *work, _ *caller) { running.resolve(); f.execution("a1") },
	} {
		t.Run(name, func(t *testing.T) {
			busy(t, 1, func(f *fixture, running *work) {
				queued := f.send("a1")
				if !f.Refuses("b") {
					t.Error("a full queue does not refuse")
				}
				free(f, running, queued)
				if f.Refuses("b") {
					t.Error("the place did not come back")
				}
				f.send("b1").waits()
			})
		})
	}
}

func TestQueue_ACallThatComesBackNeedsNoPlace(t *testing.T) {
	busy(t, 1, func(f *fixture, running *work) {
		queued := f.send("a1")
		running.calls["z0"].Again(schedule.Together, errAgain)
		if stats := f.Stats(); stats.Queued != 2 {
			t.Errorf("%d calls are queued, want both", stats.Queued)
		}
		f.send("b1").fails(schedule.ErrFull)
		running.end()
		f.execution("a1").resolve()
		queued.hears()
		f.execution("z0").resolve()
		f.send("b1").waits()
	})
}

func TestBatch_IsBoundedByMaxAndBytes(t *testing.T) {
	for name, test := range map[string]struct {
		sizes []int
		want  []string
	}{
		"calls":               {[]int{1, 1, 1, 1, 1, 1, 1}, []string{"a0 a1 a2", "a3 a4 a5", "a6"}},
		"bytes":               {[]int{6, 4, 1, 9, 2, 8}, []string{"a0 a1", "a2 a3", "a4 a5"}},
		"a call that is more": {[]int{1, 50, 1, 1}, []string{"a0", "a1", "a2 a3"}},
	} {
		t.Run(name, func(t *testing.T) {
			config := settings(1, 1)
			config.MaxBatchDelay = 0
			simulate(t, config, func(f *fixture) {
				batch := &schedule.Batch{Max: 3, Bytes: 10}
				f.send("z0", in(batch))
				running := f.execution("z0")
				for i, size := range test.sizes {
					f.send(fmt.Sprintf("a%d", i), in(batch), sized(size))
				}
				for _, names := range test.want {
					running.resolve()
					running = f.execution(strings.Fields(names)...)
				}
				running.resolve()
			})
		})
	}
}

func TestBatch_TenantsTakeTurns(t *testing.T) {
	config := settings(1, 1)
	config.MaxBatchDelay = 0
	simulate(t, config, func(f *fixture) {
		batch := &schedule.Batch{Max: 4, Bytes: 100, Across: true}
		f.send("z0", in(batch))
		running := f.execution("z0")
		f.sendAll("a1 a2 a3 a4 a5 b1 b2 c1", in(batch))
		running.resolve()
		running = f.execution("a1", "b1", "c1", "a2")
		running.resolve()
		// The next batch goes on where this one stopped.
		running = f.execution("b2", "a3", "a4", "a5")
		running.resolve()
	})
}

func TestBatch_HasOneLaneAndWithinScopeOneScope(t *testing.T) {
	config := settings(1, 1)
	config.MaxBatchDelay = 0
	simulate(t, config, func(f *fixture) {
		across := &schedule.Batch{Max: 9, Bytes: 100, Across: true}
		within := &schedule.Batch{Max: 9, Bytes: 100}
		f.send("z0", in(within))
		running := f.execution("z0")
		for _, scope := range []string{"a", "b"} {
			for _, key := range []string{"1", "2"} {
				f.send(scope+key, in(within))
			}
			f.send(scope+"3", in(across))
		}
		for _, names := range []string{"a1 a2", "a3 b3", "b1 b2"} {
			running.resolve()
			running = f.execution(strings.Fields(names)...)
		}
		running.resolve()
	})
}

func TestBatch_CountsWhatWorkersTake(t *testing.T) {
	config := settings(1, 1)
	config.MaxBatchDelay = 0
	simulate(t, config, func(f *fixture) {
		batch := &schedule.Batch{Max: 9, Bytes: 100}
		f.send("a0", in(batch))
		running := f.execution("a0")
		f.sendAll("a1 a2 a3", in(batch))
		time.Sleep(time.Second)
		running.resolve()
		f.lookUp("a1", "a2", "a3").end()
		f.execution("a1", "a2", "a3").resolve()
		f.send("a4")
		f.execution("a4").resolve()
		stats := f.Stats()
		want := schedule.Taken{Calls: 4, Waited: 3 * time.Second, Sizes: [8]uint64{1, 0, 1}}
		want.Waits[0] = 1
		want.Waits[slices.Index(schedule.WaitBounds(), time.Second)] = 3
		if diff := cmp.Diff(want, stats.Batched); diff != "" {
			t.Errorf("batches (-want +got):\n%s", diff)
		}
		single := schedule.Taken{Calls: 1, Sizes: [8]uint64{1}}
		single.Waits[0] = 1
		if diff := cmp.Diff(single, stats.Single); diff != "" {
			t.Errorf("single calls (-want +got):\n%s", diff)
		}
	})
}

func TestStats_TellTheLinesInWhichCallsWait(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		batch := &schedule.Batch{Max: 9, Bytes: 100, Across: true}
		f.apart("bad", batch)
		f.send("a0")
		single := f.execution("a0")
		f.send("a1", in(batch))
		batched := f.execution("a1")
		f.sendAll("b0 b1 b2")
		f.sendAll("c0 c1", in(batch))
		f.send("bad 9", in(batch))
		synctest.Wait()
		stats := f.Stats()
		got := [4]int{stats.Queued, stats.QueuedSingle, stats.QueuedBatched, stats.QueuedApart}
		if want := [4]int{6, 3, 2, 1}; got != want {
			t.Errorf("queued, single, batched, apart: %v, want %v", got, want)
		}
		single.resolve()
		batched.resolve()
	})
}

// TestQueue_FairnessAgainstItsDefinition sends and takes back calls at random, and
// compares who is refused and who is evicted with a model that is nothing but the rule.
func TestQueue_FairnessAgainstItsDefinition(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			busy(t, 6, func(f *fixture, _ *work) {
				// The model: the calls of each scope, in order.
				model := map[string][]*caller{}
				used := func() (n int) {
					for _, calls := range model {
						n += len(calls)
					}
					return n
				}
				for i := range 300 {
					scope := string(rune('a' + random.IntN(4)))
					if own := model[scope]; random.IntN(3) == 0 && len(own) > 0 {
						j := random.IntN(len(own))
						own[j].leave()
						model[scope] = slices.Delete(own, j, j+1)
						continue
					}
					most := 0
					for _, calls := range model {
						most = max(most, len(calls))
					}
					full := used() == 6
					refused := full && (most <= 1 || len(model[scope])+1 >= most)
					if f.Refuses(scope) != refused {
						f.t.Fatalf("step %d: Refuses(%s) is %t with %v", i, scope, !refused, model)
					}
					c := f.send(fmt.Sprintf("%s%d", scope, i))
					if refused {
						c.fails(schedule.ErrFull)
						continue
					}
					model[scope] = append(model[scope], c)
					if !full {
						continue
					}
					evicted := 0
					for other, calls := range model {
						if last := calls[max(0, len(calls)-1):]; len(last) > 0 && last[0].answered() {
							last[0].fails(schedule.ErrFull)
							if len(calls) != most {
								t.Errorf("step %d: %s gave up a place and has %d, not %d", i, other, len(calls), most)
							}
							model[other] = calls[:len(calls)-1]
							evicted++
						}
					}
					if evicted != 1 || f.Stats().Queued != 6 {
						f.t.Fatalf("step %d: %d calls were evicted, %d wait", i, evicted, f.Stats().Queued)
					}
				}
			})
		})
	}
}
