package schedule_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/onceql/onceql/idempotency/internal/schedule"
)

// A history is what happens to random calls, line by line.
type history struct {
	t     *testing.T
	mu    sync.Mutex
	began time.Time
	lines []line
	// jitter has a source of its own: whoever comes back first takes the next number.
	jitter *rand.Rand
	// executing and looking are what workers and the look-up have.
	executing map[schedule.ID]bool
	// committed are the outcomes that are there; a key executes once at most.
	committed map[schedule.ID]string
	callers   int
}

type line struct {
	at   time.Duration
	text string
}

func (h *history) write(format string, args ...any) {
	h.lines = append(h.lines, line{time.Since(h.began), fmt.Sprintf(format, args...)})
}

// text returns the history. What happens at one moment has no order.
func (h *history) text() string {
	slices.SortFunc(h.lines, func(a, b line) int {
		return cmp.Or(cmp.Compare(a.at, b.at), strings.Compare(a.text, b.text))
	})
	var text strings.Builder
	for _, l := range h.lines {
		fmt.Fprintf(&text, "%12v %s\n", l.at, l.text)
	}
	return text.String()
}

// chance is a number for what is decided of a call at a moment: no goroutine's turn
// decides it.
func (h *history) chance(seed uint64, id schedule.ID) *rand.Rand {
	n := uint64(time.Since(h.began))
	for _, b := range []byte(id.Scope + "/" + id.Key) {
		n = n*1099511628211 + uint64(b)
	}
	return rand.New(rand.NewPCG(seed, n))
}

// simulateRandom runs random calls of a seed, and checks what must hold of them all.
func simulateRandom(t *testing.T, seed uint64) (text string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(seed, 1))
		h := &history{
			t: t, began: time.Now(), jitter: rand.New(rand.NewPCG(seed, 2)),
			executing: map[schedule.ID]bool{}, committed: map[schedule.ID]string{},
		}
		config := settings(1+random.IntN(5), 1+random.IntN(4))
		config.Queue = 1 + random.IntN(30)
		config.Reserve = random.IntN(2) == 0
		config.Jitter = func(d time.Duration) time.Duration {
			return d/2 + time.Duration(h.jitter.Int64N(int64(d/2)+1))
		}
		var s *schedule.Scheduler[request, string]
		s = schedule.New(context.Background(), config, schedule.Hooks[request, string]{
			Execute: func(_ context.Context, calls []*call) { h.execute(seed, s, calls) },
			LookUp:  func(_ context.Context, calls []*call) { h.lookUp(seed, s, calls) },
			Same:    func(a, b request) bool { return a == b },
		})
		batches := []*schedule.Batch{
			nil,
			{Max: 1 + random.IntN(9), Bytes: 50, Across: true},
			{Max: 1 + random.IntN(9), Bytes: 50},
		}
		var callers sync.WaitGroup
		for i := range 400 {
			id := schedule.ID{Scope: string(rune('a' + random.IntN(5))), Key: fmt.Sprint(random.IntN(40))}
			batch, size := batches[random.IntN(len(batches))], random.IntN(20)
			wait := time.Duration(random.Int64N(int64(400 * time.Millisecond)))
			r := request{payload: fmt.Sprint(random.IntN(2))}
			leaves := time.Duration(random.Int64N(int64(time.Second)))
			callers.Go(func() { h.call(s, i, id, batch, size, wait, leaves, r) })
			time.Sleep(time.Duration(random.Int64N(int64(3 * time.Millisecond))))
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(random.Int64N(int64(400*time.Millisecond))))
		defer cancel()
		err := s.Close(ctx)
		h.mu.Lock()
		h.write("close: %v", err)
		h.mu.Unlock()
		callers.Wait()
		if err := s.Close(context.Background()); err != nil {
			t.Errorf("the second Close: %v", err)
		}
		stats := s.Stats()
		if stats.InFlight != 0 || stats.Waiting != 0 || stats.Queued != 0 || stats.QueuedSingle != 0 || stats.QueuedBatched != 0 || stats.QueuedApart != 0 || stats.Singles != 0 || stats.Batches != 0 {
			t.Errorf("something is left: %+v", stats)
		}
		if kept := s.Kept(); kept != 0 {
			t.Errorf("something of %d scopes and queues is kept", kept)
		}
		if h.callers != 400 {
			t.Errorf("%d of 400 callers have an answer", h.callers)
		}
		text = h.text()
	})
	return text
}

// call is one caller, which leaves after a while.
func (h *history) call(s *schedule.Scheduler[request, string], i int, id schedule.ID, batch *schedule.Batch, size int, wait, leaves time.Duration, r request) {
	ctx, cancel := context.WithTimeout(context.Background(), leaves)
	defer cancel()
	began := time.Now()
	outcome, err := s.Do(ctx, id, batch, size, wait, r)
	took := time.Since(began)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.callers++
	h.write("caller %d of %v: %q, %v", i, id, outcome, err)
	var waited *schedule.WaitError
	switch {
	case err == nil && outcome != h.committed[id]:
		h.t.Errorf("caller %d of %v heard %q, not %q", i, id, outcome, h.committed[id])
	case errors.As(err, &waited):
		if took != min(wait, leaves) {
			h.t.Errorf("caller %d waited for %v, not %v", i, took, min(wait, leaves))
		}
	case took > min(wait, leaves):
		h.t.Errorf("caller %d waited for %v, longer than %v", i, took, min(wait, leaves))
	}
}

// begin notes that calls are executed, which nobody else may do meanwhile.
func (h *history) begin(calls []*call) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var names []string
	for _, c := range calls {
		if h.executing[c.ID()] {
			h.t.Errorf("%v is executed twice at a time", c.ID())
		}
		h.executing[c.ID()] = true
		names = append(names, fmt.Sprint(c.ID(), c.Leader, c.Single))
	}
	h.write("executes %v", names)
}

func (h *history) execute(seed uint64, s *schedule.Scheduler[request, string], calls []*call) {
	h.begin(calls)
	random := h.chance(seed, calls[0].ID())
	away := random.IntN(20) == 0
	time.Sleep(time.Duration(random.Int64N(int64(20 * time.Millisecond))))
	h.mu.Lock()
	for _, c := range calls {
		delete(h.executing, c.ID())
	}
	h.mu.Unlock()
	if away {
		s.Unreachable(errAway)
	} else {
		s.Reached()
	}
	for _, c := range calls {
		id, random := c.ID(), h.chance(seed, c.ID())
		h.mu.Lock()
		outcome, there := h.committed[id]
		if !there && !away && random.IntN(3) > 0 {
			outcome = fmt.Sprintf("outcome of %v", id)
			h.committed[id] = outcome
			there = true
		}
		h.mu.Unlock()
		switch n := random.IntN(16); {
		case away:
			c.Again(schedule.Together, errAway)
		case there && n == 0:
			c.Again(schedule.Found, errAgain)
		case there:
			c.Resolve(outcome)
		case n < 3:
			c.Refuse(errRefused)
		case n < 6:
			c.Fail(errFailed)
		case n < 9:
			c.Blame()
			c.Again(schedule.Singly, errAgain)
		case n < 11:
			c.Again(schedule.Elsewhere, nil)
		case n < 15:
			c.Again(schedule.Together, errAgain)
		} // Else it says nothing.
	}
}

func (h *history) lookUp(seed uint64, s *schedule.Scheduler[request, string], calls []*call) {
	h.mu.Lock()
	var names []string
	for _, c := range calls {
		names = append(names, fmt.Sprint(c.ID(), c.Polled()))
	}
	h.write("looks up %v", names)
	h.mu.Unlock()
	random := h.chance(seed+1, calls[0].ID())
	time.Sleep(time.Duration(random.Int64N(int64(10 * time.Millisecond))))
	if random.IntN(20) == 0 {
		s.Unreachable(errAway)
		return
	}
	s.Reached()
	for _, c := range calls {
		random := h.chance(seed+1, c.ID())
		h.mu.Lock()
		outcome, there := h.committed[c.ID()]
		h.mu.Unlock()
		switch {
		case there:
			c.Found(outcome)
		case random.IntN(10) > 0:
			c.Missed(random.IntN(2) == 0)
		} // Else it says nothing.
	}
}

func TestScheduler_RandomCallsAllEnd(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { simulateRandom(t, seed) })
	}
}

// A seed gives one history on one processor.
//
//nolint:paralleltest // The number of processors is the process's.
func TestScheduler_TheSameSeedGivesTheSameHistory(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for seed := range uint64(50) {
		first, second := simulateRandom(t, seed), simulateRandom(t, seed)
		if diff := gocmp.Diff(strings.Split(first, "\n"), strings.Split(second, "\n")); diff != "" {
			t.Fatalf("seed %d has two histories:\n%.3000s", seed, diff)
		}
	}
}
