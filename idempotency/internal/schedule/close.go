package schedule

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"
)

// Close takes no new calls and waits until those that it has are answered and the
// workers have ended. When ctx ends first, it answers whoever still waits with
// ErrClosed and returns ctx's error; what runs ends by itself. Close may be called
// again to wait for that.
func (s *Scheduler[C, O]) Close(ctx context.Context) error {
	s.mu.Lock()
	if !s.closing {
		s.closing = true
		s.release()
	}
	s.mu.Unlock()
	select {
	case <-s.stopped:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-s.stopped:
		return nil
	default:
		s.abandon()
		return ctx.Err()
	}
}

// abandon answers everyone who still waits, and gives up what does not run, sorted by
// identity: the order of a map differs every time.
func (s *Scheduler[C, O]) abandon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := slices.SortedFunc(maps.Values(s.inflight), func(a, b *Call[C, O]) int {
		return cmp.Or(cmp.Compare(a.id.Scope, b.id.Scope), cmp.Compare(a.id.Key, b.id.Key))
	})
	for _, c := range calls {
		if c.state != running {
			s.withdraw(c)
			s.finish(c)
			c.answer(answer[O]{err: ErrClosed})
			continue
		}
		for w := range c.callers.all() {
			w.node.remove()
			s.waiting--
			w.answer <- answer[O]{err: ErrClosed}
		}
	}
}

// release ends the workers that are free, once the scheduler is closing and has no call
// left. The caller holds the mutex.
func (s *Scheduler[C, O]) release() {
	if len(s.inflight) > 0 {
		return
	}
	for _, timer := range []*time.Timer{s.gate.timer, s.lookups.timer} {
		if timer != nil {
			timer.Stop()
		}
	}
	for _, p := range []*pool{&s.singles, &s.batches} {
		for _, free := range []*list[worker]{&p.free, &p.spare} {
			for w := range free.all() {
				w.node.remove()
				close(w.handed)
			}
		}
	}
	if s.lookups.idle {
		s.lookups.idle = false
		close(s.lookups.handed)
	}
}
