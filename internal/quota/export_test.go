package quota

// Exported to the tests.
const (
	MostTenants = mostTenants
	Holds       = holds
	HoldsOfOne  = holdsOfOne
)

// Tenants is how many are known.
func (r *Rate) Tenants() int { return r.tenants.Len() }
