package telemetry

// Remembered is how many pairs of reason and tenant are remembered as logged.
func Remembered(r *Refusals) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.logged)
}

// NewTenantCallsAt returns one with so many places and a clock of its own.
var NewTenantCallsAt = newTenantCalls
