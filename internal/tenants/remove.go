package tenants

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrBusy reports rows that somebody's transaction holds for too long.
var ErrBusy = errors.New("a transaction holds rows of the tenant")

// Bounds of one transaction of a removal: few enough rows that it is over in some
// milliseconds, and few enough bytes, of which each makes a little of the write-ahead log.
const (
	removeBatch = 1000
	removeBytes = 16 << 20
)

// A removal waits for a row for less than PostgreSQL waits until it looks for deadlocks, so
// that it is never a call that fails over one. It comes again for half a minute.
const (
	rowTimeout = 200 * time.Millisecond
	rowTries   = 100
)

// removePasses is how often a removal looks once more for rows of transactions that began
// before it and were committed since.
const removePasses = 3

// A Removed says what a removal did.
type Removed struct {
	Projects int64 `json:"projects"`
	Keys     int64 `json:"keys"`
	// Left says whether something is stored for the tenant all the same: it went on calling.
	Left bool `json:"left"`
}

// A Removal removes what is stored for a tenant.
type Removal struct {
	Tenant string
	// Record records in the transaction what is removed in it.
	Record func(ctx context.Context, tx pgx.Tx, removed Removed) error
	// Progress is told what was removed so far, after each transaction.
	Progress func(Removed)
}

// Run removes the projects and then the keys that were stored before it began, by the
// database's clock, in small transactions: when it ends early, with an error, what it
// returns is removed, and running it again goes on. While a tenant's projects are removed
// its keys still replay. Two that run at once share the work.
func (r Removal) Run(ctx context.Context, database Database) (removed Removed, err error) {
	var before time.Time
	if err := reading(ctx, database, 0, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `select now()`).Scan(&before)
	}); err != nil {
		return removed, fmt.Errorf("asking for the time: %w", err)
	}
	for range removePasses {
		found := removed
		for _, of := range []removable{projectRows, keyRows} {
			if err := r.all(ctx, database, of, before, &removed); err != nil {
				return removed, fmt.Errorf("removing the %s: %w", of.rows, err)
			}
		}
		if found == removed {
			break
		}
	}
	err = reading(ctx, database, 0, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `
			select exists (select from idempotency_keys where scope = $1) or exists (select from projects where tenant = $1)`,
			r.Tenant).Scan(&removed.Left)
	})
	return removed, err
}

// removable are the statements on a table whose rows are removed, in the order in which they
// were made: so are they on the disk.
type removable struct {
	rows  string
	count func(*Removed) *int64
	// choose selects the ids of at most $5 rows of the tenant $1 that were stored before $2,
	// and after the time $3 and the id $4, and of which the last ones are left out that go
	// beyond $6 bytes. It returns the last one's time too.
	choose string
	// remove removes those with the ids $2 of the tenant $1 that were stored before $3: a key
	// may have been forgotten and executed anew since it was chosen.
	remove string
}

var (
	keyRows = removable{
		rows:   "keys",
		count:  func(r *Removed) *int64 { return &r.Keys },
		choose: choose("idempotency_keys", "scope", "key", keysTable.size, "text"),
		remove: `delete from idempotency_keys where scope = $1 and key = any($2::text[]) and created_at <= $3`,
	}
	projectRows = removable{
		rows:   "projects",
		count:  func(r *Removed) *int64 { return &r.Projects },
		choose: choose("projects", "tenant", "id", projectsTable.size, "uuid"),
		remove: `delete from projects where tenant = $1 and id = any($2::uuid[]) and created_at <= $3`,
	}
)

func choose(table, tenant, id, size, idType string) string {
	return `
		select created_at, ` + id + `::text
		from (
			select created_at, ` + id + `, sum(size) over (order by created_at, ` + id + `) - size as before
			from (
				select created_at, ` + id + `, ` + size + ` as size
				from ` + table + `
				where ` + tenant + ` = $1 and created_at <= $2 and (created_at, ` + id + `) > ($3::timestamptz, $4::` + idType + `)
				order by created_at, ` + id + `
				limit $5
			) as next
		) as measured
		where before < $6
		order by created_at, ` + id
}

// A position is behind a row in the order in which rows are removed.
type position struct {
	at time.Time
	id string
}

// all removes the rows, and adds to sum how many.
func (r Removal) all(ctx context.Context, database Database, of removable, before time.Time, sum *Removed) error {
	// No row is from before the year 1 or has an id that is less.
	last := &position{id: "00000000-0000-0000-0000-000000000000"}
	tries := 0
	for last != nil {
		start := time.Now()
		rows, next, err := r.some(ctx, database, of, before, *last)
		switch state := sqlState(err); {
		case err == nil:
			tries = 0
		case state != lockNotAvailable && state != deadlockDetected:
			return err
		case tries == rowTries:
			return fmt.Errorf("%w: %w", ErrBusy, err)
		default:
			tries++
			next = last
		}
		*of.count(sum) += rows
		last = next
		if rows > 0 {
			r.Progress(*sum)
		}
		// Half of the time is left to others, and to standbys that follow.
		pause(ctx, time.Since(start))
	}
	return nil
}

// batchBudget is how long a transaction of a removal may take, and how long it may wait for
// this program.
const batchBudget = 10 * time.Second

// some removes a batch of rows behind the position, and returns how many it removed and the
// position behind it, nil when there were none. It is not cut short: whoever interrupts it
// would not know how many it removed.
func (r Removal) some(ctx context.Context, database Database, of removable, before time.Time, last position) (removed int64, next *position, err error) {
	if err := ctx.Err(); err != nil {
		return 0, nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), batchBudget)
	defer cancel()
	err = pgx.BeginTxFunc(ctx, database, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}, func(tx pgx.Tx) error {
		for name, timeout := range map[string]time.Duration{"lock_timeout": rowTimeout, "idle_in_transaction_session_timeout": batchBudget} {
			if err := set(ctx, tx, name, timeout); err != nil {
				return err
			}
		}
		rows, _ := tx.Query(ctx, of.choose, r.Tenant, before, last.at, last.id, removeBatch, removeBytes)
		var ids []string
		var row position
		if _, err := pgx.ForEachRow(rows, []any{&row.at, &row.id}, func() error {
			ids, next = append(ids, row.id), &position{row.at, row.id}
			return nil
		}); err != nil || next == nil {
			return err
		}
		tag, err := tx.Exec(ctx, of.remove, r.Tenant, ids, before)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		removed = tag.RowsAffected()
		var part Removed
		*of.count(&part) = removed
		return r.Record(ctx, tx, part)
	})
	if err != nil {
		return 0, nil, err
	}
	return removed, next, nil
}

// pause waits, and returns early when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
