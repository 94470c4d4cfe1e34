package schedule

// yields says whether another scope gives up a place for one more call of this one.
// All are taken.
func (p *places) yields(scope string) bool {
	own := 0
	if at := p.scopes[scope]; at != nil {
		own = at.calls.size
	}
	return p.most > 1 && own+1 < p.most
}

// evictFor lets the fullest scope give up its last place for a call of this one, if it
// has to. The caller holds the mutex.
func (s *Scheduler[C, O]) evictFor(scope string) bool {
	if !s.places.yields(scope) {
		return false
	}
	c := s.call(s.places.levels[s.places.most].front().calls.back())
	s.unqueue(c)
	s.finish(c)
	c.answer(answer[O]{err: ErrFull})
	return true
}
