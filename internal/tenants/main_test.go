package tenants_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/db"
	"github.com/onceql/onceql/internal/pgtest"
	"github.com/onceql/onceql/internal/tenants"
	"github.com/onceql/onceql/migrations"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// hostile is a tenant's name with what statements, terminals and files take for theirs.
const hostile = "x'; drop table projects; --\"\\,{}%\u009b31m\u202e\t☃"

// A fixture is a database, and a role's pool on it.
type fixture struct {
	t testing.TB
	// owner is above row-level security, and pool is an operator's.
	owner, pool *pgxpool.Pool
}

func newFixture(t testing.TB) fixture {
	t.Helper()
	address := pgtest.URL(t)
	operator := pgtest.AsRole(t, address)
	if err := migrations.Up(t.Context(), address, migrations.ForOperator(db.UserOf(operator))); err != nil {
		t.Fatal(err)
	}
	return fixture{t, open(t, address), open(t, operator)}
}

func open(t testing.TB, address string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func (f fixture) exec(sql string, args ...any) {
	f.t.Helper()
	if _, err := f.owner.Exec(f.t.Context(), sql, args...); err != nil {
		f.t.Fatal(err)
	}
}

// keys stores so many keys of the operation for the tenant, a second after each other until
// an hour ago.
func (f fixture) keys(tenant, operation string, n int) {
	f.t.Helper()
	f.exec(`
		insert into idempotency_keys (scope, key, operation, request_hash, hash_version, response_json, request_id, execution_id, created_at, expires_at)
		select $1, $2 || '-' || n, $2, sha256('request'), 1, '{"project":{"id":"1"}}', 'request', gen_random_uuid(), at, at + interval '24 hours'
		from generate_series(1, $3::int) as n cross join lateral (select now() - interval '1 hour' - (n - 1) * interval '1 second') as times (at)`,
		tenant, operation, n)
}

// projects stores so many projects for the tenant, every fourth of them archived.
func (f fixture) projects(tenant string, n int) {
	f.t.Helper()
	f.exec(`
		insert into projects (tenant, id, name, description, created_at, updated_at, archived_at)
		select $1, gen_random_uuid(), 'Apollo', 'To the moon', at, at, case when n % 4 = 0 then at end
		from generate_series(1, $2::int) as n cross join lateral (select now() - interval '1 hour' - (n - 1) * interval '1 second') as times (at)`,
		tenant, n)
}

// count returns how many rows the tenant has.
func (f fixture) count(tenant string) (keys, projects int64) {
	f.t.Helper()
	err := f.owner.QueryRow(f.t.Context(), `
		select (select count(*) from idempotency_keys where scope = $1), (select count(*) from projects where tenant = $1)`,
		tenant).Scan(&keys, &projects)
	if err != nil {
		f.t.Fatal(err)
	}
	return keys, projects
}

// removal is one of all that the tenant has, which records nothing.
func removal(tenant string) tenants.Removal {
	return tenants.Removal{
		Tenant:   tenant,
		Record:   func(context.Context, pgx.Tx, tenants.Removed) error { return nil },
		Progress: func(tenants.Removed) {},
	}
}
