package schedule

import "time"

// Stats is what goes on at a moment.
type Stats struct {
	// InFlight are the identities that have a call, Waiting their callers.
	InFlight, Waiting int
	// Queued are the calls that wait for a worker.
	Queued int
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
	// Sizes counts the batches: those of one call, of 2, of 3 and 4, of up to 8, and so
	// on; the last of them those of more than 64.
	Sizes [8]uint64
}

// Stats returns what goes on now.
func (s *Scheduler[C, O]) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := Stats{
		InFlight: len(s.inflight),
		Waiting:  s.waiting,
		Queued:   s.places.used,
		Singles:  s.singles.busy,
		Batches:  s.batches.busy,
		Single:   s.singles.taken,
		Batched:  s.batches.taken,
		Away:     s.gate.shut,
		Closing:  s.closing,
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
