package telemetry

import (
	"container/heap"
	"strings"
)

// A sketch counts the calls of the tenants that call most, of any number of tenants, in a
// bounded memory: it is the algorithm SpaceSaving of Metwally, Agrawal and El Abbadi,
// "Efficient Computation of Frequent and Top-k Elements in Data Streams", 2005. A tenant that
// has more than one of so many calls as there are places is always among the counted. Nothing
// is counted too high: what a tenant may have had before it got its place is missed.
type sketch struct {
	places int
	byName map[string]*counted
	least  leastFirst
}

// counted are the calls of one tenant.
type counted struct {
	tenant string
	// outcomes are its calls since it has its place, and missed is how many it may have had
	// before: those of the tenant that had to leave.
	outcomes [outcomes]uint64
	missed   uint64
	// rank is missed and all outcomes; place is where it stands in the heap.
	rank  uint64
	place int
}

func newSketch(places int) *sketch {
	return &sketch{places: places, byName: make(map[string]*counted)}
}

func (s *sketch) count(tenant string, outcome Outcome) {
	c, known := s.byName[tenant]
	if !known {
		c = s.place(strings.Clone(tenant)) // Not the whole token that it is part of.
	}
	c.outcomes[outcome]++
	c.rank++
	heap.Fix(&s.least, c.place)
}

// place gives the tenant a place, that of the one with the fewest calls where all are taken.
func (s *sketch) place(tenant string) *counted {
	c := &counted{tenant: tenant}
	if len(s.least) < s.places {
		heap.Push(&s.least, c)
	} else {
		c = s.least[0]
		delete(s.byName, c.tenant)
		*c = counted{tenant: tenant, missed: c.rank, rank: c.rank, place: c.place}
	}
	s.byName[tenant] = c
	return c
}

// all returns the counted.
func (s *sketch) all() []counted {
	all := make([]counted, 0, len(s.least))
	for _, c := range s.least {
		all = append(all, *c)
	}
	return all
}

// most is how many calls a tenant that has no place may have had.
func (s *sketch) most() uint64 {
	if len(s.least) < s.places {
		return 0
	}
	return s.least[0].rank
}

// leastFirst is a heap by rank.
type leastFirst []*counted

func (h leastFirst) Len() int           { return len(h) }
func (h leastFirst) Less(i, j int) bool { return h[i].rank < h[j].rank }
func (h leastFirst) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *leastFirst) Push(x any) {
	c, _ := x.(*counted)
	c.place = len(*h)
	*h = append(*h, c)
}

func (h *leastFirst) Pop() any { panic("a place is never given up") }
