package schedule

// Stats is what goes on at a moment.
type Stats struct {
	// InFlight are the identities that have a call, Waiting their callers.
	InFlight, Waiting int
	// Queued are the calls that wait for a worker.
	Queued int
	// Singles and Batches are the workers of each kind that run something.
	Singles, Batches int
	// Alone and Batched count what they have run so far.
	Alone, Batched Taken
	// Apart are the scopes whose batches are kept apart from those of others.
	Apart int
	// Away says whether the database could not be reached at the last try.
	Away bool
	// Closing says that Close has begun.
	Closing bool
}

// Stats returns what goes on now.
func (s *Scheduler[C, O]) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := Stats{
		InFlight: len(s.inflight),
		Queued:   s.places.used,
		Singles:  s.singles.busy,
		Batches:  s.batches.busy,
		Alone:    s.singles.taken,
		Batched:  s.batches.taken,
		Away:     s.gate.failures > 0,
		Closing:  s.closing,
	}
	for _, c := range s.inflight {
		stats.Waiting += c.waiters.Len()
	}
	for scope := range s.faults {
		if s.faults.apart(scope) {
			stats.Apart++
		}
	}
	return stats
}

// Refuses says whether a new call of the scope would find no place now.
func (s *Scheduler[C, O]) Refuses(scope string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.places.refuses(scope)
}

// Waiting says how many callers wait for the call with the id.
func (s *Scheduler[C, O]) Waiting(id ID) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.inflight[id]; c != nil {
		return c.waiters.Len()
	}
	return 0
}
