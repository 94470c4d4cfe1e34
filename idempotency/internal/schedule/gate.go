package schedule

import "time"

// mostTry is how long the next worker waits for the one that tries to reach the
// database: a host that is gone may not answer at all.
const mostTry = time.Second

// A gate is shut while the database can't be reached: then one worker at a time tries,
// or looks calls up, with pauses that grow. The scheduler's mutex guards it.
type gate struct {
	shut bool
	// err is why.
	err error
	// failures counts the tries that failed in a row, tries those that began.
	failures, tries int
	// until is when the next may try.
	until time.Time
	timer *time.Timer
}

// due says whether it is time to try.
func (q *gate) due() bool { return !time.Now().Before(q.until) }

// Unreachable says that a worker could not reach the database, and why, which has nothing
// to do with any call: until one can, only one at a time tries.
func (s *Scheduler[C, O]) Unreachable(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gate.err = err
	if !s.gate.shut { // Otherwise the end of the try says so.
		s.gate.shut = true
		s.gate.tries++ // None that began before counts.
		s.away.Store(true)
		s.pause()
	}
}

// openGate lets all workers go on.
func (s *Scheduler[C, O]) openGate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gate.timer != nil {
		s.gate.timer.Stop()
	}
	s.gate = gate{tries: s.gate.tries}
	s.away.Store(false)
	s.wakeAll()
}

// wakeAll gives everyone what there is to do. The caller holds the mutex.
func (s *Scheduler[C, O]) wakeAll() {
	s.wake(&s.singles)
	s.wake(&s.batches)
	s.lookUpNow()
}

// try notes that a worker tries, and returns the number of its try. The caller holds
// the mutex.
func (s *Scheduler[C, O]) try() int {
	s.gate.tries++
	s.tryAfter(mostTry)
	return s.gate.tries
}

// tried ends a try. If the gate is still shut, it failed, whatever else came of it. The
// caller holds the mutex.
func (s *Scheduler[C, O]) tried(try int) {
	if s.gate.shut && s.gate.tries == try {
		s.pause()
	}
}

func (s *Scheduler[C, O]) pause() {
	s.tryAfter(s.backoff(s.gate.failures, mostRetry))
	s.gate.failures++
}

// tryAfter lets somebody try after the pause.
func (s *Scheduler[C, O]) tryAfter(pause time.Duration) {
	if s.gate.timer != nil {
		s.gate.timer.Stop()
	}
	s.gate.until = time.Now().Add(pause)
	s.gate.timer = time.AfterFunc(pause, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.wakeAll() // The first who has something to do tries.
	})
}
