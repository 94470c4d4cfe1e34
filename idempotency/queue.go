package idempotency

import "slices"

// A queue holds the flights that wait for a worker. Lanes take turns: a lane has
// the flights of one scope that one effect may run together. So a full queue is
// shared fairly, and one scope alone may use all of it. The engine's mutex guards
// it.
type queue struct {
	limit, size int
	lanes       map[laneKey]*lane
	// turns lists the lanes that have flights, in the order of their turns.
	turns []*lane
	// scopes counts each scope's flights.
	scopes map[string]int
}

type laneKey struct {
	scope string
	// group is the effect that runs the flights together, nil where each one has
	// an effect of its own.
	group effect
}

type lane struct {
	laneKey
	flights []*flight
}

func newQueue(limit int) *queue {
	return &queue{limit: limit, lanes: map[laneKey]*lane{}, scopes: map[string]int{}}
}

func (q *queue) full() bool { return q.size >= q.limit }

// refuses says whether there is no place for one more flight of the scope: the
// queue is full, and no scope has so many that it gives up one.
func (q *queue) refuses(scope string) bool {
	if !q.full() {
		return false
	}
	most := q.scopes[q.longest().scope]
	return most <= 1 || q.scopes[scope]+1 >= most
}

// longest is the longest lane of the scope that has the most flights. Of scopes
// that are as full, it is the one whose turn is next.
func (q *queue) longest() *lane {
	var longest *lane
	for _, l := range q.turns {
		if longest == nil || q.scopes[l.scope] > q.scopes[longest.scope] ||
			l.scope == longest.scope && len(l.flights) > len(longest.flights) {
			longest = l
		}
	}
	return longest
}

// admit makes room for one more flight of the scope. When the queue is full it
// returns the flight that gives up its place, the last of the fullest scope;
// it returns false when there is no place.
func (q *queue) admit(scope string) (evicted *flight, ok bool) {
	switch {
	case !q.full():
		return nil, true
	case q.refuses(scope):
		return nil, false
	}
	longest := q.longest()
	last := len(longest.flights) - 1
	evicted, longest.flights = longest.flights[last], longest.flights[:last]
	if last == 0 {
		q.turns = slices.DeleteFunc(q.turns, func(l *lane) bool { return l == longest })
		delete(q.lanes, longest.laneKey)
	}
	q.left(longest.scope, 1)
	return evicted, true
}

func (q *queue) push(f *flight) {
	key := laneKey{f.scope, f.group}
	l := q.lanes[key]
	if l == nil {
		l = &lane{laneKey: key}
		q.lanes[key] = l
		q.turns = append(q.turns, l)
	}
	l.flights = append(l.flights, f)
	q.size++
	q.scopes[f.scope]++
}

// pop returns the flights whose turn it is, at most most of them and of one group,
// or nil when there is none. Flights that have no group come one by one. Over all
// scopes, each scope's lane gives one flight in a round; otherwise all are of one
// scope.
func (q *queue) pop(most int, oneScope bool) []*flight {
	if len(q.turns) == 0 {
		return nil
	}
	first := q.turns[0]
	switch {
	case first.group == nil:
		return []*flight{q.take(0)}
	case oneScope:
		taken := make([]*flight, 0, min(most, len(first.flights)))
		for range cap(taken) {
			// The lane goes to the end of the line only after its whole turn.
			taken = append(taken, first.flights[0])
			first.flights = first.flights[1:]
		}
		q.turns = q.turns[1:]
		q.requeue(first)
		q.left(first.scope, len(taken))
		return taken
	}
	taken := make([]*flight, 0, min(most, q.size))
	for i := 0; i < len(q.turns) && len(taken) < most; {
		if q.turns[i].group == first.group {
			taken = append(taken, q.take(i))
		} else {
			i++
		}
	}
	return taken
}

// take removes the first flight of the lane whose turn is the i-th.
func (q *queue) take(i int) *flight {
	l := q.turns[i]
	if i == 0 {
		q.turns = q.turns[1:]
	} else {
		q.turns = slices.Delete(q.turns, i, i+1)
	}
	f := l.flights[0]
	l.flights[0] = nil
	l.flights = l.flights[1:]
	q.requeue(l)
	q.left(l.scope, 1)
	return f
}

// requeue gives a lane, which is not in turns, its next turn, or ends it when it
// has no flights.
func (q *queue) requeue(l *lane) {
	if len(l.flights) > 0 {
		q.turns = append(q.turns, l)
	} else {
		delete(q.lanes, l.laneKey)
	}
}

// left counts n flights of the scope that have left.
func (q *queue) left(scope string, n int) {
	q.size -= n
	if q.scopes[scope] -= n; q.scopes[scope] == 0 {
		delete(q.scopes, scope)
	}
}
