package schedule_test

import (
	"strings"
	"testing"
	"time"

	"github.com/onceql/onceql/idempotency/internal/schedule"
)

func TestWindow_ABatchThatIsSmallerThanThoseUnderWayWaits(t *testing.T) {
	simulate(t, settings(1, 3), func(f *fixture) {
		batch := &schedule.Batch{Max: 4, Bytes: 100, Across: true}
		f.send("a1", in(batch))
		first := f.execution("a1")
		f.send("a2", in(batch)) // As many as are under way.
		second := f.execution("a2")
		f.send("a3", in(batch))
		f.quiet()
		time.Sleep(2*time.Millisecond - 1)
		f.quiet()
		time.Sleep(time.Nanosecond)
		f.execution("a3").resolve()

		f.send("a4", in(batch))
		f.quiet()
		first.resolve() // What is under way is one call now.
		f.execution("a4")
		second.resolve()
	})
}

func TestWindow_AFullBatchDoesNotWait(t *testing.T) {
	simulate(t, settings(1, 4), func(f *fixture) {
		batch := &schedule.Batch{Max: 2, Bytes: 100, Across: true}
		for _, names := range []string{"a1", "a2", "a3 a4"} {
			f.sendAll(names, in(batch))
			f.execution(strings.Fields(names)...)
		}
		f.send("a5", in(batch))
		f.quiet()
		f.send("a6", in(batch))
		f.execution("a5", "a6")
	})
}

// A worker that looks for a batch must not overlook one that waits for more calls
// because another that may not run stands before it.
func TestWindow_IsKeptBehindAGroupThatMayNotRun(t *testing.T) {
	simulate(t, settings(1, 4), func(f *fixture) {
		within := &schedule.Batch{Max: 1, Bytes: 100}
		across := &schedule.Batch{Max: 9, Bytes: 100, Across: true}
		f.apart("a", across)
		running := map[string]*work{}
		for _, name := range []string{"a0", "a1", "b0", "c0"} {
			batch := within
			if name[0] == 'a' {
				batch = across
			}
			f.send(name, in(batch))
			running[name] = f.execution(name)
		}
		f.sendAll("x1 x2", in(across))
		running["b0"].resolve()
		f.execution("x1", "x2")
		// Scopes that are kept apart have half of the workers now.
		f.sendAll("a2 x3", in(across))
		f.quiet()
		running["c0"].resolve()
		f.quiet()
		time.Sleep(2 * time.Millisecond)
		f.execution("x3")
	})
}

func TestWindow_ThatIsOverSaysNothingOfTheNextBatch(t *testing.T) {
	simulate(t, settings(1, 4), func(f *fixture) {
		batch := &schedule.Batch{Max: 3, Bytes: 100, Across: true}
		f.send("a1", in(batch))
		f.execution("a1")
		f.send("a2", in(batch))
		f.execution("a2")
		f.send("a3", in(batch)) // The window opens.
		time.Sleep(time.Millisecond)
		f.send("a4", in(batch)) // As many as are under way: it closes.
		f.execution("a3", "a4")
		f.send("a5", in(batch)) // The next one opens.
		time.Sleep(2*time.Millisecond - 1)
		f.quiet()
		time.Sleep(time.Nanosecond)
		f.execution("a5")
	})
}

func TestWindow_OfCallersThatLeftSaysNothingOfTheNext(t *testing.T) {
	simulate(t, settings(1, 4), func(f *fixture) {
		batch := &schedule.Batch{Max: 3, Bytes: 100, Across: true}
		f.send("a1", in(batch))
		f.execution("a1")
		f.send("a2", in(batch))
		f.execution("a2")
		gone := f.send("a3", in(batch))
		time.Sleep(time.Millisecond)
		gone.leave()
		f.send("a4", in(batch))
		time.Sleep(2*time.Millisecond - 1)
		f.quiet()
		time.Sleep(time.Nanosecond)
		f.execution("a4")
	})
}
