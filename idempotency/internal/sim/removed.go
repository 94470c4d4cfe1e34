package sim

import "github.com/onceql/onceql/idempotency/internal/store"

// Removed returns the rows that were purged or forgotten on the present primary, in the
// order of the commits.
func (c *Cluster) Removed() []store.Row {
	c.mu.Lock()
	defer c.mu.Unlock()
	var rows []store.Row
	for _, r := range c.primary.log {
		for _, o := range r.ops {
			if o.kind == deleteKey {
				rows = append(rows, o.row)
			}
		}
	}
	return rows
}
