package schedule_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/onceql/onceql/idempotency/internal/schedule"
)

// A request is what a caller asks for.
type request struct{ payload string }

type call = schedule.Call[request, string]

// A fixture is a scheduler in a bubble of synctest. Its workers do what the test says.
type fixture struct {
	t *testing.T
	*schedule.Scheduler[request, string]

	mu sync.Mutex
	// executions and lookUps began, and the test has not asked for them yet.
	executions, lookUps []*work
	callers             []*caller
	open                []*work
}

// settings are those of a scheduler with so many workers, whose pauses have no jitter.
func settings(singles, batches int) schedule.Config {
	return schedule.Config{
		Singles: singles, Batches: batches, Queue: 1000,
		MaxBatchDelay: 2 * time.Millisecond,
		LookUpAfter:   5 * time.Millisecond,
		Jitter:        func(d time.Duration) time.Duration { return d },
	}
}

// simulate runs a test in virtual time. At its end nothing may be left: no call, no
// place, no worker that is busy, no goroutine.
func simulate(t *testing.T, config schedule.Config, body func(f *fixture)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fixture{t: t}
		f.Scheduler = schedule.New(context.Background(), config, schedule.Hooks[request, string]{
			Execute: func(_ context.Context, calls []*call) { f.work(&f.executions, calls) },
			LookUp:  func(_ context.Context, calls []*call) { f.work(&f.lookUps, calls) },
			Same:    func(a, b request) bool { return a == b },
		})
		synctest.Wait() // All workers are there.
		defer f.end()
		body(f)
	})
}

func (f *fixture) work(queue *[]*work, calls []*call) {
	w := &work{f: f, calls: map[string]*call{}, over: make(chan struct{})}
	for _, c := range calls {
		name := c.ID().Scope + c.ID().Key
		if w.calls[name] != nil {
			f.t.Errorf("%s is twice in a batch", name)
		}
		w.names = append(w.names, name)
		w.calls[name] = c
	}
	f.mu.Lock()
	*queue = append(*queue, w)
	f.open = append(f.open, w)
	f.mu.Unlock()
	<-w.over
}

// end lets everyone go, and checks that nothing is left.
func (f *fixture) end() {
	f.t.Helper()
	for _, c := range f.callers {
		c.cancel()
	}
	closed := make(chan error, 1)
	go func() { closed <- f.Close(context.Background()) }()
	for {
		synctest.Wait()
		f.mu.Lock()
		open := f.open
		f.open = nil
		f.mu.Unlock()
		for _, w := range open {
			w.resolve()
		}
		if len(open) == 0 {
			break
		}
	}
	if err := <-closed; err != nil {
		f.t.Errorf("Close: %v", err)
	}
	stats := f.Stats()
	stats.Single, stats.Batched, stats.Apart = schedule.Taken{}, schedule.Taken{}, 0
	if diff := cmp.Diff(schedule.Stats{Closing: true}, stats, cmp.FilterPath(
		func(p cmp.Path) bool { return p.Last().String() == ".Away" }, cmp.Ignore())); diff != "" {
		f.t.Errorf("something is left (-want +got):\n%s", diff)
	}
	if kept := f.Kept(); kept != 0 {
		f.t.Errorf("something of %d scopes and queues is kept", kept)
	}
}

// A work is what a worker, or the look-up, has in hand.
type work struct {
	f     *fixture
	names []string
	calls map[string]*call
	over  chan struct{}
	once  sync.Once
}

// execution returns the first execution that began, or the one of these calls.
func (f *fixture) execution(names ...string) *work {
	f.t.Helper()
	return f.next("execution", &f.executions, names)
}

// lookUp returns the first look-up that began, or the one of these calls.
func (f *fixture) lookUp(names ...string) *work {
	f.t.Helper()
	return f.next("look-up", &f.lookUps, names)
}

func (f *fixture) next(what string, queue *[]*work, names []string) *work {
	f.t.Helper()
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, w := range *queue {
		if len(names) == 0 || slices.Equal(names, w.names) {
			*queue = slices.Delete(*queue, i, i+1)
			return w
		}
	}
	for _, w := range *queue {
		f.t.Errorf("there is an %s of %v", what, w.names)
	}
	f.t.Fatalf("there is no %s of %v", what, names)
	return nil
}

// begun returns the executions, or the look-ups, that began.
func (f *fixture) begun(queue *[]*work) (begun []*work) {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	begun, *queue = *queue, nil
	return begun
}

// quiet checks that no further execution, and no look-up, has begun.
func (f *fixture) quiet() {
	f.t.Helper()
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range slices.Concat(f.executions, f.lookUps) {
		f.t.Errorf("%v began", w.names)
	}
}

// end lets the hook return.
func (w *work) end() { w.once.Do(func() { close(w.over) }) }

// resolve resolves the calls, or all of them, and ends.
func (w *work) resolve(names ...string) {
	for _, name := range w.names {
		if len(names) == 0 || slices.Contains(names, name) {
			w.calls[name].Resolve("outcome of " + name)
		}
	}
	w.end()
	synctest.Wait()
}

// A caller is one that waits in Do.
type caller struct {
	f       *fixture
	name    string
	request request
	batch   *schedule.Batch
	size    int
	wait    time.Duration
	cancel  context.CancelFunc

	// These are there once done is closed.
	done    chan struct{}
	outcome string
	err     error
	after   time.Duration
}

type option func(*caller)

// gone is a caller whose context has ended before it calls.
func gone(c *caller) { c.cancel() }

func in(batch *schedule.Batch) option   { return func(c *caller) { c.batch = batch } }
func payload(text string) option        { return func(c *caller) { c.request.payload = text } }
func sized(size int) option             { return func(c *caller) { c.size = size } }
func waiting(wait time.Duration) option { return func(c *caller) { c.wait = wait } }

// send calls Do and returns when the caller waits. The name is a scope of one letter
// and a key.
func (f *fixture) send(name string, options ...option) *caller {
	f.t.Helper()
	c := f.start(name, options...)
	synctest.Wait()
	return c
}

func (f *fixture) start(name string, options ...option) *caller {
	ctx, cancel := context.WithCancel(context.Background())
	c := &caller{f: f, name: name, wait: time.Hour, cancel: cancel, done: make(chan struct{})}
	for _, option := range options {
		option(c)
	}
	f.callers = append(f.callers, c)
	began := time.Now()
	go func() {
		defer close(c.done)
		id := schedule.ID{Scope: name[:1], Key: name[1:]}
		c.outcome, c.err = f.Do(ctx, id, c.batch, c.size, c.wait, c.request)
		c.after = time.Since(began)
	}()
	return c
}

// sendAll sends calls in this order.
func (f *fixture) sendAll(names string, options ...option) map[string]*caller {
	f.t.Helper()
	callers := map[string]*caller{}
	for _, name := range strings.Fields(names) {
		callers[name] = f.send(name, options...)
	}
	return callers
}

// leave ends the caller's context.
func (c *caller) leave() {
	c.f.t.Helper()
	c.cancel()
	synctest.Wait()
	var wait *schedule.WaitError
	if !c.answered() || !errors.As(c.err, &wait) || !errors.Is(wait.Cause, context.Canceled) {
		c.f.t.Errorf("%s left and heard %q, %v", c.name, c.outcome, c.err)
	}
}

func (c *caller) answered() bool {
	synctest.Wait()
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// waits checks that the caller has no answer.
func (c *caller) waits() {
	c.f.t.Helper()
	if c.answered() {
		c.f.t.Errorf("%s heard %q, %v; it should wait", c.name, c.outcome, c.err)
	}
}

// hears checks that the caller has its call's outcome.
func (c *caller) hears() {
	c.f.t.Helper()
	if want := "outcome of " + c.name; !c.answered() || c.err != nil || c.outcome != want {
		c.f.t.Errorf("%s heard %q, %v; want %q", c.name, c.outcome, c.err, want)
	}
}

// fails checks that the caller has this error.
func (c *caller) fails(want error) {
	c.f.t.Helper()
	if !c.answered() || !errors.Is(c.err, want) {
		c.f.t.Errorf("%s heard %q, %v; want the error %v", c.name, c.outcome, c.err, want)
	}
}

// gaveUp checks that the caller's wait ended after so long.
func (c *caller) gaveUp(after time.Duration, last error) {
	c.f.t.Helper()
	var wait *schedule.WaitError
	switch {
	case !c.answered() || !errors.As(c.err, &wait):
		c.f.t.Errorf("%s heard %q, %v; want a WaitError", c.name, c.outcome, c.err)
	case wait.Cause != nil || !errors.Is(wait.Last, last) || c.after != after:
		c.f.t.Errorf("%s gave up after %v, by %v, with %v; want %v and %v", c.name, c.after, wait.Cause, wait.Last, after, last)
	}
}

var (
	errRefused = errors.New("refused")
	errFailed  = errors.New("failed")
	errAgain   = errors.New("again")
)
