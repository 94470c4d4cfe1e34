package tenants_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/onceql/onceql/internal/tenants"
)

// All of a tenant goes, nothing of another's, and each transaction records what it removed.
func TestRemoval_RemovesTheTenantAlone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	others := []string{"", "acm", "acme2", "ACME", "acme "}
	for _, tenant := range append([]string{"acme", hostile}, others...) {
		f.keys(tenant, "createProject", 2500)
		f.projects(tenant, 1500)
	}
	for _, tenant := range []string{"acme", hostile} {
		var recorded []tenants.Removed
		var told tenants.Removed
		r := removal(tenant)
		r.Record = func(_ context.Context, _ pgx.Tx, part tenants.Removed) error {
			recorded = append(recorded, part)
			return nil
		}
		r.Progress = func(so tenants.Removed) { told = so }
		removed, err := r.Run(t.Context(), f.pool)
		if want := (tenants.Removed{Projects: 1500, Keys: 2500}); err != nil || removed != want || told != want {
			t.Errorf("it removed %+v and told %+v: %v", removed, told, err)
		}
		if diff := cmp.Diff([]tenants.Removed{{Projects: 1000}, {Projects: 500}, {Keys: 1000}, {Keys: 1000}, {Keys: 500}}, recorded); diff != "" {
			t.Errorf("it recorded %s", diff)
		}
		if keys, projects := f.count(tenant); keys != 0 || projects != 0 {
			t.Errorf("%d keys and %d projects are left", keys, projects)
		}
	}
	for _, tenant := range others {
		if keys, projects := f.count(tenant); keys != 2500 || projects != 1500 {
			t.Errorf("%q has %d keys and %d projects", tenant, keys, projects)
		}
	}
}

// A transaction removes only so many bytes.
func TestRemoval_BoundsATransactionsBytes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.keys("acme", "createProject", 20)
	// A megabyte that can't be compressed.
	f.exec(`update idempotency_keys set response_json = to_json((select string_agg(gen_random_uuid()::text, '') from generate_series(1, 30000)))`)
	transactions := 0
	r := removal("acme")
	r.Record = func(context.Context, pgx.Tx, tenants.Removed) error { transactions++; return nil }
	if removed, err := r.Run(t.Context(), f.pool); err != nil || removed.Keys != 20 || transactions != 2 {
		t.Errorf("it removed %+v in %d transactions: %v", removed, transactions, err)
	}
}

// What was not recorded is not removed.
func TestRemoval_RemovesNothingThatItCanNotRecord(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.keys("acme", "createProject", 10)
	refused := errors.New("no record")
	r := removal("acme")
	r.Record = func(context.Context, pgx.Tx, tenants.Removed) error { return refused }
	removed, err := r.Run(t.Context(), f.pool)
	if keys, _ := f.count("acme"); !errors.Is(err, refused) || removed.Keys != 0 || keys != 10 {
		t.Errorf("it removed %+v, and %d keys are left: %v", removed, keys, err)
	}
}

// A removal that is stopped says what it removed, and another one goes on.
func TestRemoval_GoesOnAfterItWasStopped(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.keys("acme", "createProject", 3500)
	f.projects("acme", 1500)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	r := removal("acme")
	r.Progress = func(so tenants.Removed) {
		if so.Keys > 0 {
			stop()
		}
	}
	first, err := r.Run(ctx, f.pool)
	if !errors.Is(err, context.Canceled) || first.Projects != 1500 || first.Keys != 1000 {
		t.Errorf("it removed %+v: %v", first, err)
	}
	if keys, projects := f.count("acme"); keys != 2500 || projects != 0 {
		t.Errorf("%d keys and %d projects are left", keys, projects)
	}
	second, err := removal("acme").Run(t.Context(), f.pool)
	if want := (tenants.Removed{Keys: 2500}); err != nil || second != want {
		t.Errorf("then it removed %+v: %v", second, err)
	}
}

// Two operators at once share the work, and each is told what it did itself.
func TestRemoval_TwoAtOnceRemoveEachRowOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.keys("acme", "createProject", 5000)
	f.projects("acme", 5000)
	var both [2]tenants.Removed
	var working sync.WaitGroup
	for i := range both {
		working.Go(func() {
			var err error
			r := removal("acme")
			r.Record = func(_ context.Context, _ pgx.Tx, removed tenants.Removed) error {
				if removed.Projects+removed.Keys == 0 {
					t.Error("it records that it removed nothing")
				}
				return nil
			}
			if both[i], err = r.Run(t.Context(), f.pool); err != nil || both[i].Left {
				t.Errorf("%+v: %v", both[i], err)
			}
		})
	}
	working.Wait()
	if both[0].Keys+both[1].Keys != 5000 || both[0].Projects+both[1].Projects != 5000 {
		t.Errorf("they removed %+v", both)
	}
}

// A tenant that goes on calling does not keep a removal from ending. What it stored before
// is gone, and the removal says that there is more.
func TestRemoval_EndsWhileTheTenantFloods(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.keys("acme", "createProject", 3000)
	f.projects("acme", 1000)
	stored, ended := 0, make(chan struct{})
	var flooding sync.WaitGroup
	flooding.Go(func() {
		for {
			stored++
			f.exec(`
				with created as (
					insert into projects (tenant, id, name, created_at, updated_at)
					select 'acme', gen_random_uuid(), 'Apollo', now(), now() from generate_series(1, 50)
					returning id
				)
				insert into idempotency_keys (scope, key, operation, request_hash, hash_version, response_json, execution_id, created_at, expires_at)
				select 'acme', id, 'flood', sha256('request'), 1, '{}', gen_random_uuid(), now(), now() from created`)
			select {
			case <-ended:
				return
			default:
			}
		}
	})
	removed, err := removal("acme").Run(t.Context(), f.pool)
	close(ended)
	flooding.Wait()
	if err != nil || !removed.Left || removed.Keys < 3000 || removed.Projects < 1000 {
		t.Errorf("it removed %+v: %v", removed, err)
	}
	var old int
	if err := f.owner.QueryRow(t.Context(), `select count(*) from idempotency_keys where operation <> 'flood'`).Scan(&old); err != nil || old != 0 {
		t.Errorf("%d of the keys from before are left: %v", old, err)
	}
	if keys, _ := f.count("acme"); keys+removed.Keys != int64(3000+50*stored) {
		t.Errorf("%d keys were removed and %d are left, of %d", removed.Keys, keys, 3000+50*stored)
	}
}

// A row of a transaction that began before the removal and committed later goes too.
func TestRemoval_FindsWhatWasCommittedLate(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.keys("acme", "createProject", 10)
	late, err := f.owner.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := late.Exec(t.Context(), `
		insert into idempotency_keys (scope, key, operation, request_hash, hash_version, response_json, execution_id, created_at, expires_at)
		values ('acme', 'late', 'createProject', sha256('request'), 1, '{}', gen_random_uuid(), now() - interval '2 hours', now())`); err != nil {
		t.Fatal(err)
	}
	r := removal("acme")
	r.Progress = func(so tenants.Removed) {
		if so.Keys == 10 {
			if err := late.Commit(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	if removed, err := r.Run(t.Context(), f.pool); err != nil || removed.Keys != 11 || removed.Left {
		t.Errorf("it removed %+v: %v", removed, err)
	}
}

// A call that holds a project is waited for.
func TestRemoval_WaitsForARowThatACallHolds(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.projects("acme", 10)
	held, err := f.owner.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := held.Exec(t.Context(), `select from projects order by id limit 1 for update`); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	var removed tenants.Removed
	go func() {
		var err error
		removed, err = removal("acme").Run(t.Context(), f.pool)
		ended <- err
	}()
	for waits := 0; waits < 2; { // The first wait ends with a time-out.
		var waiting bool
		if err := f.owner.QueryRow(t.Context(), `select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')`).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
		if waiting == (waits == 0) {
			waits++
		}
		time.Sleep(time.Millisecond)
	}
	if err := held.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil || removed.Projects != 10 {
		t.Errorf("it removed %+v: %v", removed, err)
	}
}

// A key that another operator forgot, and that then executed anew, has an effect that stays:
// so does the key.
func TestRemoval_KeepsAKeyThatExecutedAnew(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.keys("acme", "createProject", 3)
	database := interrupted{f.pool, "delete from idempotency_keys", func() {
		f.exec(`delete from idempotency_keys where key = 'createProject-2'`)
		f.exec(`
			insert into idempotency_keys (scope, key, operation, request_hash, hash_version, response_json, request_id, execution_id, created_at, expires_at)
			values ('acme', 'createProject-2', 'createProject', sha256('request'), 1, '{}', 'request', gen_random_uuid(), now(), now() + interval '24 hours')`)
	}}
	removed, err := removal("acme").Run(t.Context(), database)
	if want := (tenants.Removed{Keys: 2, Left: true}); err != nil || removed != want {
		t.Errorf("it removed %+v, want %+v: %v", removed, want, err)
	}
}

// An interrupted database has something happen before a statement.
type interrupted struct {
	tenants.Database
	statement string
	happens   func()
}

func (i interrupted) BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error) {
	tx, err := i.Database.BeginTx(ctx, options)
	return interruptedTx{tx, i}, err
}

type interruptedTx struct {
	pgx.Tx
	by interrupted
}

func (t interruptedTx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if strings.HasPrefix(sql, t.by.statement) {
		t.by.happens()
	}
	return t.Tx.Exec(ctx, sql, args...)
}

// What is stored after a removal began is a newcomer's, and it says that it is there.
func TestRemoval_LeavesWhatIsStoredAfterItBegan(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.keys("acme", "createProject", 10)
	f.projects("acme", 10)
	r := removal("acme")
	r.Record = func(_ context.Context, _ pgx.Tx, removed tenants.Removed) error {
		if removed.Projects > 0 { // The keys come next.
			f.exec(`
				insert into idempotency_keys (scope, key, operation, request_hash, hash_version, response_json, execution_id, created_at, expires_at)
				values ('acme', 'zzz', 'createProject', sha256('request'), 1, '{}', gen_random_uuid(), clock_timestamp(), now() + interval '24 hours')`)
		}
		return nil
	}
	removed, err := r.Run(t.Context(), f.pool)
	if want := (tenants.Removed{Projects: 10, Keys: 10, Left: true}); removed != want || err != nil {
		t.Errorf("it removed %+v, %v; want %+v", removed, err, want)
	}
	if keys, projects := f.count("acme"); keys != 1 || projects != 0 {
		t.Errorf("%d keys and %d projects are left", keys, projects)
	}
}
