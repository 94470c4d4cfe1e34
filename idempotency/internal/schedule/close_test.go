package schedule_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onceql/onceql/idempotency/internal/schedule"
)

func (f *fixture) close(ctx context.Context) <-chan error {
	closed := make(chan error, 1)
	go func() { closed <- f.Close(ctx) }()
	synctest.Wait()
	return closed
}

func TestClose_WaitsForWhatItHas(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		callers := f.sendAll("a1 a2")
		follower := f.send("a1")
		running := f.execution("a1")
		closed := f.close(context.Background())
		f.send("b1").fails(schedule.ErrClosed)
		f.send("a1").fails(schedule.ErrClosed)
		running.calls["a1"].Again(schedule.Together, errAgain)
		running.end()
		f.execution("a2").resolve()
		callers["a2"].hears()
		running = f.execution("a1")
		running.calls["a1"].Fail(errFailed)
		running.end()
		callers["a1"].fails(errFailed)
		select {
		case err := <-closed:
			t.Errorf("Close returned %v while a call runs", err)
		default:
		}
		f.execution("a1").resolve()
		follower.hears()
		if err := <-closed; err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

func TestClose_GivesUpWhenItsTimeIsOver(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		delayed := f.send("d1")
		running := f.execution("d1")
		running.calls["d1"].Again(schedule.Elsewhere, nil)
		running.end()
		polled := f.send("p1")
		running = f.execution("p1")
		running.calls["p1"].Again(schedule.Found, nil)
		running.end()
		asked := f.lookUp("p1")
		started, queued := f.send("r1"), f.send("q1")
		running = f.execution("r1")
		ctx, cancel := context.WithCancel(context.Background())
		closed := f.close(ctx)
		cancel()
		if err := <-closed; !errors.Is(err, context.Canceled) {
			t.Errorf("Close: %v", err)
		}
		for _, c := range []*caller{delayed, polled, started, queued} {
			c.fails(schedule.ErrClosed)
		}
		// What runs ends by itself, and nothing else begins.
		time.Sleep(time.Second)
		f.quiet()
		again := f.close(context.Background())
		asked.calls["p1"].Found("too late")
		asked.end()
		select {
		case err := <-again:
			t.Errorf("the second Close returned %v while a call runs", err)
		default:
		}
		running.calls["r1"].Again(schedule.Together, errAgain)
		running.end()
		if err := <-again; err != nil {
			t.Errorf("the second Close: %v", err)
		}
		// Whose time is over too learns that it is closed.
		if err := <-f.close(ctx); err != nil {
			t.Errorf("the third Close: %v", err)
		}
	})
}

func TestClose_OfAnIdleOneIsAtOnce(t *testing.T) {
	config := settings(2, 2)
	config.Reserve = true
	simulate(t, config, func(f *fixture) {
		if err := <-f.close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
		f.send("a1").fails(schedule.ErrClosed)
	})
}

func TestClose_WhileTheDatabaseIsAway(t *testing.T) {
	simulate(t, settings(1, 1), func(f *fixture) {
		c := f.send("a1", waiting(100*time.Millisecond))
		f.away(f.execution("a1"))
		closed := f.close(context.Background())
		for range 30 {
			time.Sleep(10 * time.Millisecond)
			for _, w := range f.tries() {
				f.away(w)
			}
		}
		c.gaveUp(100*time.Millisecond, errAway)
		if err := <-closed; err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}
