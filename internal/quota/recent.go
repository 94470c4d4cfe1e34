// Package quota bounds what each tenant may ask for: requests in a second, and what is
// stored for it.
package quota

import lru "github.com/hashicorp/golang-lru/v2"

// mostTenants bounds the tenants that are known: those that came last.
const mostTenants = 100_000

// recent has a value for each of the tenants that came last.
type recent[V any] struct{ *lru.Cache[string, *V] }

func newRecent[V any]() recent[V] {
	cache, _ := lru.New[string, *V](mostTenants) // It refuses sizes below 1 alone.
	return recent[V]{cache}
}

// of returns the tenant's value, which is create's for one that is not known.
func (r recent[V]) of(tenant string, create func() *V) *V {
	if v, ok := r.Get(tenant); ok {
		return v
	}
	v := create()
	if first, ok, _ := r.PeekOrAdd(tenant, v); ok {
		return first
	}
	return v
}
