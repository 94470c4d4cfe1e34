package schedule

import "time"

// faults counts what harmed batches, by scope. The scheduler's mutex guards it.
type faults struct {
	scopes map[string]*fault
	// sweepAt is how many scopes there are when those are removed that are over.
	sweepAt int
}

type fault struct {
	score float64
	until time.Time
}

// A scope is kept apart once one call in ten or so is at fault, and until faultFor
// after the last fault. Calls that succeed meanwhile do not count: they may succeed
// because it is kept apart.
const (
	apartAt    = 2
	forgiven   = 0.1
	faultFor   = 5 * time.Second
	leastSweep = 1024
)

// Blame says that the call did what harms a batch, once for each call. A scope to which
// that happens again and again gets batches of its own.
func (c *Call[C, O]) Blame() {
	s := c.scheduler
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.batch != nil && c.batch.Across && !c.blamed {
		c.blamed = true
		s.faults.blame(c.id.Scope)
	}
}

func (f *faults) blame(scope string) {
	now := time.Now()
	if f.scopes == nil {
		f.scopes = map[string]*fault{}
	}
	if len(f.scopes) >= max(f.sweepAt, leastSweep) {
		for other, fault := range f.scopes {
			if now.After(fault.until) {
				delete(f.scopes, other)
			}
		}
		f.sweepAt = 2 * len(f.scopes)
	}
	known := f.scopes[scope]
	if known == nil || now.After(known.until) {
		known = &fault{}
		f.scopes[scope] = known
	}
	known.score++
	known.until = now.Add(faultFor)
}

func (f *faults) forgive(scope string) {
	if known := f.scopes[scope]; known != nil && !f.apart(scope) {
		if known.score -= forgiven; known.score <= 0 {
			delete(f.scopes, scope)
		}
	}
}

func (f *faults) apart(scope string) bool {
	known := f.scopes[scope]
	return known != nil && known.score >= apartAt && time.Now().Before(known.until)
}

// asideAllowed says whether a worker may run calls of scopes that are kept apart.
func (p *pool) asideAllowed(reserve bool) bool {
	if reserve {
		return false
	}
	others := p.across.running+p.across.spare > 0 || p.roundRobin.size+p.aside.size > 1
	return !others || p.apart < max(1, p.workers/2) && !time.Now().Before(p.rest)
}

// restFor leaves the workers to scopes that are not kept apart, for a while.
func (p *pool) restFor(pause time.Duration) {
	p.rest = time.Now().Add(pause)
	time.AfterFunc(pause, p.changed)
}
