package db

import (
	"context"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// askPooler says whether a pooler is in front of the server: it greets its clients with a
// process of its own making, because the server's changes under them.
func (h *host) askPooler(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var unable bool
	row, err := h.row(ctx, `select pg_backend_pid() -- probe`, 1, &unable)
	return err == nil && row != nil && row[0] != strconv.FormatUint(uint64(h.conn.PID()), 10)
}

// execute has statements executed without being prepared where a pooler was found and the
// URL does not say how: of those before pgbouncer 1.21 the next transaction may reach
// another server's process, which knows no statement of this client, or another client's
// under the same name.
func (c *Cluster) execute(config *pgx.ConnConfig) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pooled && !c.asGiven {
		config.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
}
