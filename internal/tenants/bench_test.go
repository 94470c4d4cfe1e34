package tenants_test

import (
	"flag"
	"testing"

	"github.com/onceql/onceql/internal/tenants"
)

var rows = flag.Int("rows", 10_000, "how many keys a benchmark stores for one tenant, and for 10,000 others together")

// BenchmarkTenants tells how long a command takes, once:
//
//	go test ./internal/tenants -run '^$' -bench . -benchtime 1x -timeout 1h -args -rows 1000000
func BenchmarkTenants(b *testing.B) {
	f := newFixture(b)
	f.keys("large", "createProject", *rows)
	f.projects("large", *rows/10)
	f.exec(`
		insert into idempotency_keys (scope, key, operation, request_hash, hash_version, response_json, execution_id, created_at, expires_at)
		select 'tenant-' || n % 10000, n, 'createProject', sha256('request'), 1, '{"project":{"id":"1"}}', gen_random_uuid(), now(), now()
		from generate_series(1, $1::int) as n`, *rows)
	f.exec(`vacuum analyze idempotency_keys`)
	f.exec(`vacuum analyze projects`)
	run := func(name string, do func() error) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	list := func(above int64) func() error {
		return func() error {
			_, err := tenants.List(b.Context(), f.pool, tenants.ListOptions{Order: tenants.ByKeys, Limit: 50, SampledAbove: above})
			return err
		}
	}
	run("list", list(tenants.SampledAbove))
	run("list-exact", list(0))
	run("show", func() error {
		_, err := tenants.Show(b.Context(), f.pool, "large", 0)
		return err
	})
	run("export", func() error {
		var written uint64
		_, err := tenants.Export(b.Context(), f.pool, "large", counter{&written})
		return err
	})
	run("remove", func() error { // Of the second time there is nothing.
		_, err := removal("large").Run(b.Context(), f.pool)
		return err
	})
}
