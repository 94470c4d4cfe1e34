package quota

// Exported to the tests.
const (
	Generation = generation
	Holds      = holds
	HoldsOfOne = holdsOfOne
)

// Tenants is how many are known.
func (r *Rate) Tenants() int {
	r.tenants.mu.Lock()
	defer r.tenants.mu.Unlock()
	return len(r.tenants.current) + len(r.tenants.last)
}
