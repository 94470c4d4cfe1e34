// Package quota bounds what each tenant may ask for: requests in a second, and what is
// stored for it.
package quota

import "sync"

// recent has a value for each of the tenants that came last, of a bounded number. It keeps
// the last generation beside the one that grows: a tenant that goes on is never forgotten
// by fewer than generation others.
type recent[V any] struct {
	mu            sync.Mutex
	current, last map[string]*V
	generation    int
}

// generation bounds the tenants that are known: twice as many.
const generation = 50_000

func newRecent[V any]() *recent[V] {
	return &recent[V]{current: map[string]*V{}, generation: generation}
}

// of returns the tenant's value, which is make's for one that is not known.
func (r *recent[V]) of(tenant string, create func() *V) *V {
	r.mu.Lock()
	defer r.mu.Unlock()
	if v := r.current[tenant]; v != nil {
		return v
	}
	v := r.last[tenant]
	if v == nil {
		v = create()
	}
	if len(r.current) >= r.generation {
		r.current, r.last = map[string]*V{}, r.current
	}
	r.current[tenant] = v
	return v
}
