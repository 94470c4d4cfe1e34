package tenants_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/onceql/onceql/internal/tenants"
)

func TestList_CountsEveryTenant(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.keys("", "createProject", 3)
	f.keys(hostile, "updateProject", 5)
	f.projects(hostile, 1)
	f.projects("owns", 4)

	listing, err := tenants.List(t.Context(), f.pool, tenants.ListOptions{Order: tenants.ByKeys, Limit: 10, SampledAbove: tenants.SampledAbove})
	if err != nil {
		t.Fatal(err)
	}
	if listing.Of != 3 || listing.KeysRead != 1 || listing.ProjectsRead != 1 {
		t.Errorf("it lists of %d tenants, of which it read %g and %g", listing.Of, listing.KeysRead, listing.ProjectsRead)
	}
	var got []string
	for _, tenant := range listing.Tenants {
		got = append(got, fmt.Sprintf("%q %d %d %t", tenant.Tenant, tenant.Keys, tenant.Projects, tenant.NewestCall != nil))
		if keys, projects := f.count(tenant.Tenant); tenant.Keys != keys || tenant.Projects != projects || tenant.Estimated {
			t.Errorf("%+v, want %d keys and %d projects", tenant, keys, projects)
		}
		if (tenant.Bytes > 0) != (tenant.Keys > 0) || (tenant.ProjectBytes > 0) != (tenant.Projects > 0) {
			t.Errorf("%+v: rows and no bytes, or bytes and no rows", tenant)
		}
	}
	want := []string{fmt.Sprintf("%q 5 1 true", hostile), `"" 3 0 true`, `"owns" 0 4 false`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestList_OrdersAndLimits(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.keys("b", "createProject", 3)
	f.keys("a", "createProject", 2)
	f.exec(`update idempotency_keys set response_json = to_json(repeat('x', 100)), created_at = now() where scope = 'a'`)
	f.projects("c", 1)
	for order, want := range map[tenants.Order][]string{
		tenants.ByKeys:     {"b", "a", "c"},
		tenants.ByBytes:    {"a", "b", "c"},
		tenants.ByProjects: {"c", "a", "b"},
		tenants.ByNewest:   {"a", "b", "c"},
		tenants.ByName:     {"a", "b", "c"},
	} {
		for limit := range 4 {
			listing, err := tenants.List(t.Context(), f.pool, tenants.ListOptions{Order: order, Limit: limit})
			if err != nil {
				t.Fatal(err)
			}
			got := []string{}
			for _, tenant := range listing.Tenants {
				got = append(got, tenant.Tenant)
			}
			if diff := cmp.Diff(want[:limit], got); diff != "" || listing.Of != 3 {
				t.Errorf("by %s, %d of %d:\n%s", order, limit, listing.Of, diff)
			}
		}
	}
}

// A large table is not read as a whole: what is said of its large tenants is estimated, and
// the others are counted.
func TestList_SamplesALargeTable(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.keys("large", "createProject", 20_000)
	f.keys("small", "createProject", 3)
	f.projects("small", 2)
	var size int64
	if err := f.owner.QueryRow(t.Context(), `select pg_relation_size('idempotency_keys')`).Scan(&size); err != nil {
		t.Fatal(err)
	}
	listing, err := tenants.List(t.Context(), f.pool, tenants.ListOptions{Order: tenants.ByKeys, Limit: 2, SampledAbove: size / 4})
	if err != nil {
		t.Fatal(err)
	}
	if listing.KeysRead < 0.24 || listing.KeysRead > 0.26 || listing.ProjectsRead != 1 {
		t.Errorf("it read %g and %g", listing.KeysRead, listing.ProjectsRead)
	}
	large, small := listing.Tenants[0], listing.Tenants[1]
	if !large.Estimated || large.Keys == 20_000 || large.Keys < 10_000 || large.Keys > 40_000 {
		t.Errorf("of the 20,000 keys it says %+v", large)
	}
	if small.Tenant != "small" || small.Keys != 3 || small.Projects != 2 || small.Estimated {
		t.Errorf("of 3 keys and 2 projects it says %+v", small)
	}
}

func TestList_FindsTenThousandTenants(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`
		insert into idempotency_keys (scope, key, operation, request_hash, hash_version, response_json, execution_id, created_at, expires_at)
		select 'tenant-' || n, 'key', 'createProject', sha256('request'), 1, '{}', gen_random_uuid(), now(), now()
		from generate_series(1, 10000) as n`)
	listing, err := tenants.List(t.Context(), f.pool, tenants.ListOptions{Order: tenants.ByName, Limit: 20_000, SampledAbove: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if listing.Of != 10_000 || len(listing.Tenants) != 10_000 {
		t.Errorf("it lists %d of %d", len(listing.Tenants), listing.Of)
	}
	for _, tenant := range listing.Tenants {
		if tenant.Keys != 1 || tenant.Estimated {
			t.Fatalf("of one key it says %+v", tenant)
		}
	}
}

// What takes too long ends.
func TestList_EndsWithItsTimeout(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	tx, err := f.owner.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	if _, err := tx.Exec(t.Context(), `lock table projects`); err != nil {
		t.Fatal(err)
	}
	if _, err := tenants.List(t.Context(), f.pool, tenants.ListOptions{Limit: 1, Timeout: 50 * time.Millisecond}); !errors.Is(err, tenants.ErrTooSlow) {
		t.Errorf("listing: %v", err)
	}
	if _, err := tenants.Show(t.Context(), f.pool, "acme", 50*time.Millisecond); !errors.Is(err, tenants.ErrTooSlow) {
		t.Errorf("showing: %v", err)
	}
}

func TestShow_TellsWhatIsStoredByOperation(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, tenant := range []string{"", hostile, "neighbour"} {
		f.keys(tenant, "updateProject", 2)
		f.keys(tenant, "createProject", 3)
		f.projects(tenant, 5)
	}
	f.exec(`update idempotency_keys set expires_at = now() where key = 'createProject-1'`)
	for _, tenant := range []string{"", hostile} {
		got, err := tenants.Show(t.Context(), f.pool, tenant, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if got.Keys != 5 || got.Projects != 5 || got.Archived != 1 || got.Empty() || got.Bytes == 0 || got.ProjectBytes == 0 || time.Since(got.At) > time.Hour {
			t.Errorf("%+v", got)
		}
		if len(got.Operations) != 2 {
			t.Fatalf("%+v", got)
		}
		created, updated := got.Operations[0], got.Operations[1]
		if created.Operation != "createProject" || created.Keys != 3 || created.Replayable != 2 || created.Expired != 1 || created.NewestCall.Sub(created.OldestCall) != 2*time.Second {
			t.Errorf("%+v", created)
		}
		if updated.Operation != "updateProject" || updated.Keys != 2 || updated.Replayable != 2 || updated.Expired != 0 {
			t.Errorf("%+v", updated)
		}
	}
	if got, err := tenants.Show(t.Context(), f.pool, "nobody", time.Minute); err != nil || !got.Empty() || got.NewestCall != nil {
		t.Errorf("of nobody it says %+v, %v", got, err)
	}
}
