package idempotency

import (
	"sync"
	"time"
)

// A line is a queue and the workers that wait for it. The engine's mutex guards
// it.
type line struct {
	queue *queue
	work  sync.Cond
	// running counts the flights that the workers have.
	running int
	// While groups are under way, a smaller one waits for more flights, at most
	// as long as patience, after which it is due.
	patience time.Duration
	waits    *time.Timer
	due      bool
}

// patience bounds the wait for a group as large as those under way. It is less
// than such a group takes.
const patience = 2 * time.Millisecond

func (l *line) init(mu *sync.Mutex, places int, patience time.Duration) {
	l.queue, l.work.L, l.patience = newQueue(places), mu, patience
}

// worthwhile says whether a worker should take what is queued. Transactions side
// by side are worth it when each has about as many flights: one more commit costs
// more than a short wait for a commit that is under way.
func (l *line) worthwhile() bool {
	return l.queue.size > 0 && (l.patience == 0 || l.due || l.queue.size >= l.running)
}

// pop returns the flights that a worker should run now, or nil.
func (l *line) pop(oneScope bool) []*flight {
	if !l.worthwhile() {
		return nil
	}
	l.due = false
	return l.queue.pop(MaxGroup, oneScope)
}

// stir wakes a worker for what is queued, now or in a while.
func (l *line) stir() {
	switch {
	case l.worthwhile():
		l.work.Signal()
	case l.queue.size > 0 && l.waits == nil:
		l.waits = time.AfterFunc(l.patience, func() {
			l.work.L.Lock()
			defer l.work.L.Unlock()
			l.waits, l.due = nil, l.queue.size > 0
			l.stir()
		})
	}
}
