package schedule

// Kept tells the tests of how many scopes and queues the scheduler keeps something in
// memory, but for their faults.
func (s *Scheduler[C, O]) Kept() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := len(s.places.scopes)
	for _, p := range []*pool{&s.singles, &s.batches} {
		kept += len(p.queues) + len(p.loads)
	}
	return kept
}
