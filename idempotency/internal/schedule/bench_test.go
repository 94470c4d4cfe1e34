package schedule_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onceql/onceql/idempotency/internal/schedule"
)

// idle has workers that resolve whatever they get, after what execute does.
func idle(b *testing.B, config schedule.Config, execute func([]*call)) *schedule.Scheduler[request, string] {
	b.Helper()
	s := schedule.New(b.Context(), config, schedule.Hooks[request, string]{
		Execute: func(_ context.Context, calls []*call) {
			execute(calls)
			for _, c := range calls {
				c.Resolve("")
			}
		},
		LookUp: func(context.Context, []*call) {},
		Same:   func(a, b request) bool { return a == b },
	})
	b.Cleanup(func() { s.Close(context.Background()) })
	return s
}

// BenchmarkScheduler_InMemory is one call's share of a batch of 128. 384 callers of 128
// scopes keep one worker busy, which waits until the next batch is there.
func BenchmarkScheduler_InMemory(b *testing.B) {
	const callers, size = 384, 128
	var active atomic.Int64
	var s *schedule.Scheduler[request, string]
	s = idle(b, settings(1, 1), func(calls []*call) {
		for int64(s.Stats().Queued) < min(size, active.Load()-int64(len(calls))) {
			runtime.Gosched()
		}
	})
	batch := &schedule.Batch{Max: size, Bytes: 1 << 20, Across: true}
	b.ReportAllocs()
	var all sync.WaitGroup
	active.Store(callers)
	for i := range callers {
		id := schedule.ID{Scope: fmt.Sprint("scope ", i%size), Key: fmt.Sprint("key ", i)}
		all.Go(func() {
			defer active.Add(-1)
			for range (b.N + callers - 1 - i) / callers {
				if _, err := s.Do(context.Background(), id, batch, 100, time.Minute, request{}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
	batches := uint64(0)
	taken := s.Stats().Batched
	for _, n := range taken.Sizes {
		batches += n
	}
	b.ReportMetric(float64(taken.Calls)/float64(batches), "calls/batch")
}

// BenchmarkScheduler_Alone is a call that meets a free worker.
func BenchmarkScheduler_Alone(b *testing.B) {
	s := idle(b, settings(4, 2), func([]*call) {})
	batch := &schedule.Batch{Max: 128, Bytes: 1 << 20, Across: true}
	b.ReportAllocs()
	for b.Loop() {
		s.Do(context.Background(), schedule.ID{Scope: "a", Key: "1"}, batch, 100, time.Minute, request{})
	}
}

// crowd has one worker that runs one call, for as long as the benchmark.
func crowd(b *testing.B, places int) *schedule.Scheduler[request, string] {
	b.Helper()
	config := settings(1, 1)
	config.Queue, config.LookUpAfter = places, time.Hour
	over, began := make(chan struct{}), make(chan struct{}, 1)
	s := schedule.New(b.Context(), config, schedule.Hooks[request, string]{
		Execute: func(context.Context, []*call) { began <- struct{}{}; <-over },
		LookUp:  func(context.Context, []*call) {},
		Same:    func(a, b request) bool { return a == b },
	})
	go s.Do(context.Background(), schedule.ID{Scope: "busy"}, nil, 0, time.Hour, request{})
	<-began
	b.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		s.Close(ctx)
		close(over)
		s.Close(context.Background())
	})
	return s
}

// wait lets so many callers wait, and returns what lets them leave and when they have.
func wait(s *schedule.Scheduler[request, string], n int, id func(i int) schedule.ID) (leave func(), left *sync.WaitGroup) {
	ctx, cancel := context.WithCancel(context.Background())
	left = &sync.WaitGroup{}
	for i := range n {
		left.Go(func() { s.Do(ctx, id(i), nil, 0, time.Hour, request{}) })
	}
	for s.Stats().Waiting < n+1 {
		time.Sleep(time.Millisecond)
	}
	return cancel, left
}

// BenchmarkRefuses_FullQueueOf4096Scopes is what admission at the door costs.
func BenchmarkRefuses_FullQueueOf4096Scopes(b *testing.B) {
	s := crowd(b, 4096)
	leave, left := wait(s, 4096, func(i int) schedule.ID { return schedule.ID{Scope: fmt.Sprint(i)} })
	for b.Loop() {
		if !s.Refuses("other") {
			b.Fatal("the full queue does not refuse")
		}
	}
	leave()
	left.Wait()
}

// BenchmarkQueue_4096ScopesJoinAndLeave is a caller that finds 4,096 others before it.
func BenchmarkQueue_4096ScopesJoinAndLeave(b *testing.B) {
	s := crowd(b, 10_000)
	leave, left := wait(s, 4096, func(i int) schedule.ID { return schedule.ID{Scope: fmt.Sprint(i)} })
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	b.ReportAllocs()
	for b.Loop() {
		s.Do(gone, schedule.ID{Scope: "other"}, nil, 0, time.Hour, request{})
	}
	leave()
	left.Wait()
}

// BenchmarkLeave_50000WaitersOfOneKey has as its longest pause how long another caller
// waits for the mutex while they leave.
func BenchmarkLeave_50000WaitersOfOneKey(b *testing.B) {
	s := crowd(b, 10)
	var longest time.Duration
	for b.Loop() {
		b.StopTimer()
		leave, left := wait(s, 50_000, func(int) schedule.ID { return schedule.ID{Scope: "a"} })
		b.StartTimer()
		go leave()
		longest = max(longest, pause(s, left))
	}
	b.ReportMetric(float64(longest.Microseconds()), "µs-longest")
}

// BenchmarkResolve_50000CallersOfOneKey has as its longest pause how long another caller
// waits for the mutex while they are answered.
func BenchmarkResolve_50000CallersOfOneKey(b *testing.B) {
	var longest time.Duration
	for b.Loop() {
		running, over := make(chan *call), make(chan struct{})
		s := schedule.New(b.Context(), settings(1, 1), schedule.Hooks[request, string]{
			Execute: func(_ context.Context, calls []*call) { running <- calls[0]; <-over },
			LookUp:  func(context.Context, []*call) {},
		})
		go s.Do(context.Background(), schedule.ID{Scope: "a"}, nil, 0, time.Hour, request{})
		c := <-running
		_, left := wait(s, 49_999, func(int) schedule.ID { return schedule.ID{Scope: "a"} })
		go c.Resolve("")
		longest = max(longest, pause(s, left))
		close(over)
		s.Close(context.Background())
	}
	b.ReportMetric(float64(longest.Microseconds()), "µs-longest")
}

// pause is the longest time for which another caller waits until all have left.
func pause(s *schedule.Scheduler[request, string], left *sync.WaitGroup) (longest time.Duration) {
	over := make(chan struct{})
	go func() { left.Wait(); close(over) }()
	for {
		began := time.Now()
		s.Refuses("b")
		longest = max(longest, time.Since(began))
		select {
		case <-over:
			return longest
		default:
			time.Sleep(100 * time.Microsecond)
		}
	}
}
