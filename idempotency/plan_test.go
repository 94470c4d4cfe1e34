package idempotency_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

// Plans that were made while the table was small, and known to be, hold when it
// is large.
func TestLookup_NeverScansTheTable(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	pool := f.open(f.url, 4)
	engine := f.engineOn(pool, idempotency.Config{})
	f.fill(40, "1 hour")
	f.exec(`analyze idempotency_keys`)
	const calls = 20
	for i := range calls {
		mustDo(t, engine, fmt.Sprint(i), "a")
		mustDo(t, engine, "1 hour 7", "a")
	}
	var restored string
	if _, err := run(t.Context(), engine, call("k", "a"), func(ctx context.Context, tx pgx.Tx) (note, error) {
		return note{}, tx.QueryRow(ctx, `show enable_seqscan`).Scan(&restored)
	}); err != nil || restored != "on" {
		t.Errorf("an effect has enable_seqscan %q, %v; want on", restored, err)
	}
	pool.Close() // Then Postgres counts what its connections did.
	eventually(t, "the look-ups are counted", func() bool {
		return f.count(`select idx_scan from pg_stat_user_tables where relname = 'idempotency_keys'`) >= 2*calls
	})
	if n := f.count(`select seq_scan from pg_stat_user_tables where relname = 'idempotency_keys'`); n != 0 {
		t.Errorf("%d look-ups scanned the table", n)
	}
}
