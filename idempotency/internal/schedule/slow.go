package schedule

import "time"

// Nothing interrupts an effect, and one that is slow delays all calls of its batch. So
// after a slow batch over many scopes the next ones of its lane are small for a while:
// then most of them are fast, and whoever is in slow ones again and again is the one.
// Where all of them are slow, the lane's work is, and batches are large again.
const (
	// slowBatch is how long a slow batch takes at least.
	slowBatch = 50 * time.Millisecond
	// In a trial batches have at most trialMax calls. It lasts for trialFor, or until so
	// many batches in a row were fast, or none of the first was.
	trialMax = 4
	trialFor = 2 * time.Second
	allFast  = 100
	noneFast = 12
	// slowInARow is how many slow batches in a row, while others are fast, keep a scope
	// apart.
	slowInARow = 3
	// The pause after a trial that found nobody doubles from the first to the second.
	leastPause = 100 * time.Millisecond
	mostPause  = 32 * time.Second
)

// A trial tells who slows a lane down. The scheduler's mutex guards it.
type trial struct {
	on    bool
	until time.Time
	// batches counts those of the trial, fast the fast ones, inARow the last of them.
	batches, fast, inARow int
	// slow counts the slow batches in a row, by scope.
	slow  map[string]int
	found bool
	next  time.Time
	pause time.Duration
}

// most is how many calls the lane's next batch may have.
func (s *Scheduler[C, O]) most(lane *Lane) int {
	if t := s.trials[lane]; t != nil && t.on {
		return min(trialMax, lane.Max)
	}
	return lane.Max
}

// watch notes how long a batch of the group took. The caller holds the mutex.
func (s *Scheduler[C, O]) watch(g *group, calls []*Call[C, O], took time.Duration) {
	slow := took >= slowBatch
	if g.groupKey.apart && slow {
		for _, c := range calls {
			s.faults.blame(c.id.Scope)
		}
	}
	if !g.groupKey.across {
		return
	}
	t := s.trials[g.lane]
	if t == nil {
		if !slow {
			return
		}
		t = &trial{}
		s.trials[g.lane] = t
	}
	now := time.Now()
	if !t.on {
		if slow && len(calls) > 1 && !now.Before(t.next) {
			*t = trial{on: true, until: now.Add(trialFor), slow: map[string]int{}, pause: t.pause}
		}
		return
	}
	t.batches++
	for _, c := range calls {
		switch scope := c.id.Scope; {
		case !slow:
			delete(t.slow, scope)
		case t.slow[scope]+1 >= slowInARow && t.fast > 0:
			for range apartAt {
				s.faults.blame(scope)
			}
			delete(t.slow, scope)
			t.found = true
		default:
			t.slow[scope]++
		}
	}
	t.inARow++
	if slow {
		t.inARow = 0
	} else {
		t.fast++
	}
	if now.After(t.until) || t.inARow >= allFast || t.batches >= noneFast && t.fast == 0 {
		if t.found {
			*t = trial{}
			return
		}
		pause := min(max(2*t.pause, leastPause), mostPause)
		*t = trial{next: now.Add(pause), pause: pause}
	}
}
