package schedule

import (
	"math/bits"
	"slices"
	"time"
)

// Stats is what goes on at a moment.
type Stats struct {
	// InFlight are the identities that have a call, Waiting their callers.
	InFlight, Waiting int
	// Queued are the calls that wait for a worker: to run singly, in a batch, and in one of
	// a scope that is kept apart.
	Queued, QueuedSingle, QueuedBatched, QueuedApart int
	// Singles and Batches are the workers of each kind that run something.
	Singles, Batches int
	// Single and Batched count what they have run so far.
	Single, Batched Taken
	// Apart are the scopes whose batches are kept apart from those of others.
	Apart int
	// Away says whether the database could not be reached at the last try.
	Away bool
	// Closing says that Close has begun.
	Closing bool
}

// Taken counts what workers took from the queue.
type Taken struct {
	// Calls is how many, and Waited how long they had been in the queue together.
	Calls  uint64
	Waited time.Duration
	// Waits counts the calls by how long they had been there: at most as long as the bound
	// of the same index; the last of them, longer than all.
	Waits [len(waitBounds) + 1]uint64
	// Sizes counts the batches: those of one call, of 2, of 3 and 4, of up to 8, and so
	// on; the last of them those of more than 64.
	Sizes [8]uint64
}

// waitBounds are rising. They begin at a batch's longest delay for more calls, less what a
// timer is late, and end beyond the wait of most callers.
var waitBounds = [...]time.Duration{
	500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond,
	25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// WaitBounds are those of Taken.Waits.
func WaitBounds() []time.Duration { return slices.Clone(waitBounds[:]) }

func (t *Taken) count(n int) {
	t.Calls += uint64(n)
	t.Sizes[min(bits.Len(uint(n-1)), len(t.Sizes)-1)]++
}

func (t *Taken) countWait(waited time.Duration) {
	t.Waited += waited
	n, _ := slices.BinarySearch(waitBounds[:], waited)
	t.Waits[n]++
}

// Stats returns what goes on now.
func (s *Scheduler[C, O]) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := Stats{
		InFlight: len(s.inflight),
		Waiting:  s.waiting,
		Queued:   s.places.used,

		QueuedSingle:  s.singles.queued,
		QueuedBatched: s.batches.queued,
		QueuedApart:   s.batches.queuedApart,

		Singles: s.singles.busy,
		Batches: s.batches.busy,
		Single:  s.singles.taken,
		Batched: s.batches.taken,
		Away:    s.gate.shut,
		Closing: s.closing,
	}
	for scope := range s.faults.scopes {
		if s.faults.apart(scope) {
			stats.Apart++
		}
	}
	return stats
}

// Waiting says how many callers wait for the call with the id.
func (s *Scheduler[C, O]) Waiting(id ID) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.inflight[id]; c != nil {
		return c.callers.size
	}
	return 0
}
