package fair

// Tenants is how many are known. Exported to the tests.
func (g *Gate) Tenants() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.tenants)
}

// Tenants is how many are known. Exported to the tests.
func (c *Cap) Tenants() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.tenants)
}
