package quota_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onceql/onceql/internal/quota"
)

// A counter counts what it is told, and takes a second for it, or longer.
type counter struct {
	usage quota.Usage
	err   error
	takes time.Duration
	n     int
	// failed counts what it is told of.
	failed atomic.Int32
}

func (c *counter) fail(context.Context, string, error) { c.failed.Add(1) }

func (c *counter) count(ctx context.Context, _ string) (quota.Usage, error) {
	c.n++
	usage, err := c.usage, c.err
	select {
	case <-time.After(max(c.takes, time.Second)):
		return usage, err
	case <-ctx.Done():
		return quota.Usage{}, ctx.Err()
	}
}

func TestStored_KnowsWhatIsCountedAndWhatWasAdded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background() // The bubble's own.
		c := &counter{usage: quota.Usage{Keys: 7, Bytes: 70}}
		s := quota.NewStored(quota.Usage{Keys: 10, Bytes: 100}, c.count, c.fail)
		want := func(limit string, counts int) {
			t.Helper()
			s.Know(ctx, "a")
			synctest.Wait() // A count that nobody waits for has begun.
			if got := s.Exceeded("a"); got != limit || c.n != counts {
				t.Errorf("the limit %q is reached after %d counts, want %q and %d", got, c.n, limit, counts)
			}
		}
		want("", 1)
		s.Add("a", 5)
		s.Add("a", 5)
		want("", 1)
		s.Add("a", 5)
		want("keys", 1)
		if got := s.Exceeded("b"); got != "" {
			t.Errorf("another tenant has reached %q", got)
		}

		// Keys were purged, and meanwhile one is added.
		c.usage = quota.Usage{Keys: 4, Bytes: 40}
		time.Sleep(5 * time.Second)
		want("keys", 2)
		s.Add("a", 55)
		want("keys", 2)
		time.Sleep(time.Second)
		synctest.Wait()
		want("", 2)
		s.Add("a", 5)
		want("bytes", 2)

		// What can't be counted stays as it was.
		c.err = errors.New("away")
		time.Sleep(5 * time.Second)
		want("bytes", 3)
		time.Sleep(time.Second)
		want("bytes", 3)
		for range 12 {
			time.Sleep(6 * time.Second)
			s.Know(ctx, "a")
		}
		time.Sleep(time.Second)
		if c.failed.Load() != 2 {
			t.Errorf("told %d times in little more than a minute, want 2", c.failed.Load())
		}
	})
}

func TestStored_WaitsForTheFirstCountAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &counter{err: errors.New("away")}
		s := quota.NewStored(quota.Usage{Keys: 1}, c.count, c.fail)
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		began := time.Now()
		s.Know(ctx, "a")
		if waited := time.Since(began); waited != time.Millisecond {
			t.Errorf("a caller that goes away waits for %s", waited)
		}
		s.Know(context.Background(), "a")
		if waited := time.Since(began); waited != time.Second || c.n != 1 || s.Exceeded("a") != "" {
			t.Errorf("others wait for %s and %d counts, and have reached %q; want a second, 1 and none", waited, c.n, s.Exceeded("a"))
		}
	})
}

func TestStored_BoundsCountsThatTakeLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background() // The bubble's own.
		c := &counter{takes: 12 * time.Second, usage: quota.Usage{Keys: 9, Bytes: 99}}
		s := quota.NewStored(quota.Usage{Bytes: 100}, c.count, c.fail)
		began := time.Now()
		s.Know(ctx, "a")
		if waited := time.Since(began); waited != time.Second {
			t.Errorf("a call waits for %s, want a second", waited)
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		for range 12 { // The second begins now: one at a time.
			s.Know(ctx, "a")
			synctest.Wait()
			if c.n != 2 || s.Exceeded("a") != "" {
				t.Errorf("after %d counts %q is reached, want 2 and none", c.n, s.Exceeded("a"))
			}
			time.Sleep(time.Second)
		}
		c.takes = time.Hour
		s.Know(ctx, "b")
		time.Sleep(28 * time.Second)
		if c.failed.Load() != 0 {
			t.Error("a count was given up before 30 s")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if c.failed.Load() != 1 {
			t.Error("a count was not given up after 30 s")
		}
	})
}
