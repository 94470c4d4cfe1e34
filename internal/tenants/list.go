package tenants

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// SampledAbove is how large a table may be, in bytes, that List reads as a whole. It takes
	// about a second.
	SampledAbove = 256 << 20
	// fewRows is how many rows of a sample say too little of their tenant.
	fewRows = 50
)

// An Order says which tenants are listed first.
type Order string

// The orders of a list: the most keys, bytes or projects first, the newest call first, or by
// name.
const (
	ByKeys     Order = "keys"
	ByBytes    Order = "bytes"
	ByProjects Order = "projects"
	ByNewest   Order = "newest"
	ByName     Order = "name"
)

// ListOptions say what to list.
type ListOptions struct {
	Order Order
	// Limit is how many tenants are listed, the first of their order.
	Limit int
	// SampledAbove is the size of a table, in bytes, above which List reads a sample of about
	// that size. Zero has every row read.
	SampledAbove int64
	// Timeout bounds each statement. Zero is no bound.
	Timeout time.Duration
}

// A Listing is a list of tenants.
type Listing struct {
	Tenants []Listed `json:"tenants"`
	// Of is how many tenants there are.
	Of int `json:"of"`
	// KeysRead and ProjectsRead are which part of the rows was read: 1 is all of them.
	KeysRead     float64 `json:"keysRead"`
	ProjectsRead float64 `json:"projectsRead"`
}

// A Listed tenant is one of a list.
type Listed struct {
	Usage
	// Estimated says that numbers were computed from a sample. The name and NewestCall are
	// exact all the same.
	Estimated bool `json:"estimated"`
	// sampled are the rows that were read of each table.
	sampled [2]int64
}

// List returns the tenants for whom something is stored. Their names and newest calls are
// found by as many look-ups in an index as there are tenants. To count their rows reads each
// row, so a large table is sampled, see ListOptions. Of the listed, those with few rows in a
// sample are counted one by one.
func List(ctx context.Context, database Database, options ListOptions) (Listing, error) {
	var listing Listing
	err := reading(ctx, database, options.Timeout, func(tx pgx.Tx) (err error) {
		found, err := names(ctx, tx)
		if err != nil {
			return fmt.Errorf("finding the tenants: %w", err)
		}
		if listing.KeysRead, err = sample(ctx, tx, found, keysTable, options.SampledAbove); err != nil {
			return fmt.Errorf("counting the keys: %w", err)
		}
		if listing.ProjectsRead, err = sample(ctx, tx, found, projectsTable, options.SampledAbove); err != nil {
			return fmt.Errorf("counting the projects: %w", err)
		}
		listing.Of = len(found)
		listing.Tenants = make([]Listed, 0, len(found))
		for _, tenant := range found {
			listing.Tenants = append(listing.Tenants, *tenant)
		}
		slices.SortFunc(listing.Tenants, options.Order.compare)
		listing.Tenants = listing.Tenants[:min(options.Limit, len(listing.Tenants))]
		return listing.refine(ctx, tx)
	})
	// Counted rows may stand elsewhere than estimated ones.
	slices.SortStableFunc(listing.Tenants, options.Order.compare)
	return listing, err
}

func (o Order) compare(a, b Listed) int {
	by := 0
	switch o {
	case ByKeys:
		by = cmp.Compare(b.Keys, a.Keys)
	case ByBytes:
		by = cmp.Compare(b.Bytes, a.Bytes)
	case ByProjects:
		by = cmp.Compare(b.Projects, a.Projects)
	case ByNewest:
		by = newest(b).Compare(newest(a))
	case ByName:
	}
	return cmp.Or(by, cmp.Compare(a.Tenant, b.Tenant))
}

func newest(tenant Listed) time.Time {
	if tenant.NewestCall == nil {
		return time.Time{}
	}
	return *tenant.NewestCall
}

// names finds every tenant: each step is a look-up in an index that the tenant leads.
func names(ctx context.Context, tx pgx.Tx) (map[string]*Listed, error) {
	rows, _ := tx.Query(ctx, `
		with recursive
		calling (tenant, newest) as (
			(select scope, created_at from idempotency_keys order by scope desc, created_at desc limit 1)
			union all
			select following.* from calling cross join lateral (
				select scope, created_at from idempotency_keys where scope < calling.tenant
				order by scope desc, created_at desc limit 1
			) as following
		),
		owning (tenant) as (
			(select tenant from projects order by tenant limit 1)
			union all
			select following.* from owning cross join lateral (
				select projects.tenant from projects where projects.tenant > owning.tenant
				order by projects.tenant limit 1
			) as following
		)
		select tenant, newest from calling full join owning using (tenant)`)
	found := map[string]*Listed{}
	var tenant string
	var newest *time.Time
	_, err := pgx.ForEachRow(rows, []any{&tenant, &newest}, func() error {
		found[tenant] = &Listed{Usage: Usage{Tenant: tenant, NewestCall: newest}}
		return nil
	})
	return found, err
}

// A table is one whose rows are counted.
type table struct {
	index              int
	name, tenant, size string
	add                func(usage *Usage, rows, bytes int64)
}

var (
	keysTable = table{0, "idempotency_keys", "scope", "pg_column_size(response_json)", func(usage *Usage, rows, bytes int64) {
		usage.Keys, usage.Bytes = rows, bytes
	}}
	projectsTable = table{1, "projects", "tenant", "pg_column_size(projects.*)", func(usage *Usage, rows, bytes int64) {
		usage.Projects, usage.ProjectBytes = rows, bytes
	}}
)

// sample counts the rows of a part of the table's blocks, chosen at random, by tenant, and
// returns which part it was. A tenant that is there since the names were found is left out:
// there is none in one snapshot.
func sample(ctx context.Context, tx pgx.Tx, found map[string]*Listed, of table, most int64) (float64, error) {
	var size int64
	if err := tx.QueryRow(ctx, `select pg_relation_size($1::regclass)`, of.name).Scan(&size); err != nil {
		return 0, err
	}
	part, from := 1.0, of.name
	if most > 0 && size > most {
		part = float64(most) / float64(size)
		from += fmt.Sprintf(` tablesample system (%g)`, 100*part)
	}
	rows, _ := tx.Query(ctx, `select `+of.tenant+`, count(*), sum(`+of.size+`)::bigint from `+from+` group by 1`)
	var tenant string
	var count, bytes int64
	_, err := pgx.ForEachRow(rows, []any{&tenant, &count, &bytes}, func() error {
		if listed, ok := found[tenant]; ok {
			listed.sampled[of.index] = count
			of.add(&listed.Usage, int64(math.Round(float64(count)/part)), int64(math.Round(float64(bytes)/part)))
		}
		return nil
	})
	return part, err
}

// refine counts those of which a sample said little, and says which are estimated.
func (l *Listing) refine(ctx context.Context, tx pgx.Tx) error {
	for _, read := range []struct {
		table table
		part  float64
	}{{keysTable, l.KeysRead}, {projectsTable, l.ProjectsRead}} {
		if read.part == 1 {
			continue
		}
		few := map[string]*Usage{}
		for i := range l.Tenants {
			listed := &l.Tenants[i]
			if listed.sampled[read.table.index] < fewRows {
				few[listed.Tenant] = &listed.Usage
				read.table.add(&listed.Usage, 0, 0)
			} else {
				listed.Estimated = true
			}
		}
		of := read.table
		rows, _ := tx.Query(ctx, `
			select `+of.tenant+`, count(*), sum(`+of.size+`)::bigint
			from `+of.name+`
			where `+of.tenant+` = any($1::text[])
			group by 1`, slices.Collect(maps.Keys(few)))
		var tenant string
		var count, bytes int64
		if _, err := pgx.ForEachRow(rows, []any{&tenant, &count, &bytes}, func() error {
			of.add(few[tenant], count, bytes)
			return nil
		}); err != nil {
			return fmt.Errorf("counting the rows of tenants that have few: %w", err)
		}
	}
	return nil
}
