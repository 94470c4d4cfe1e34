package idempotency

// A queue holds the flights that wait for a worker. Scopes take turns, so that
// a full queue is shared fairly, and one scope alone may use all of it. The
// engine's mutex guards it.
type queue struct {
	limit, size int
	lanes       map[string]*lane
	// turns lists the scopes that have flights, in the order of their turns.
	turns []*lane
}

type lane struct {
	scope   string
	flights []*flight
}

func newQueue(limit int) queue {
	return queue{limit: limit, lanes: map[string]*lane{}}
}

// admit makes room for one more flight of the scope. When the queue is full it
// returns the flight that gives up its place, the last of the fullest scope;
// it returns false when that would be the newcomer itself.
func (q *queue) admit(scope string) (evicted *flight, ok bool) {
	if q.size < q.limit {
		return nil, true
	}
	fullest := q.turns[0]
	for _, other := range q.turns[1:] {
		if len(other.flights) > len(fullest.flights) {
			fullest = other
		}
	}
	if own := q.lanes[scope]; own != nil && len(own.flights)+1 >= len(fullest.flights) || len(fullest.flights) <= 1 {
		return nil, false
	}
	last := len(fullest.flights) - 1
	evicted, fullest.flights = fullest.flights[last], fullest.flights[:last]
	q.size--
	return evicted, true
}

func (q *queue) push(f *flight) {
	own := q.lanes[f.scope]
	if own == nil {
		own = &lane{scope: f.scope}
		q.lanes[f.scope] = own
		q.turns = append(q.turns, own)
	}
	own.flights = append(own.flights, f)
	q.size++
}

// pop returns the next flight, or nil when there is none.
func (q *queue) pop() *flight {
	if len(q.turns) == 0 {
		return nil
	}
	own := q.turns[0]
	q.turns = q.turns[1:]
	first := own.flights[0]
	own.flights[0] = nil
	own.flights = own.flights[1:]
	q.size--
	if len(own.flights) > 0 {
		q.turns = append(q.turns, own)
	} else {
		delete(q.lanes, own.scope)
	}
	return first
}
