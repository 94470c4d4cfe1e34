package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/internal/issuer"
	"github.com/onceql/onceql/internal/pgtest"
)

func TestTenants_SeeNothingOfEachOther(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	i := issuer.New(t)
	s, d := serveTo(t, i, url), connect(t, url)
	acme, globex := bearer(i.Sign(i.Claims("acme", issuer.AllScopes))), bearer(i.Sign(i.Claims("globex", issuer.AllScopes)))
	made := s.send(create("k", "Apollo"), acme...)
	wantStatus(t, made, "EXECUTED")
	s.send(create("k2", "Gemini"), acme...)
	id := made.project().ID
	page := s.send(request{Query: `{ projects(first: 1) { pageInfo { endCursor } } }`}, acme...)
	_, cursor, _ := strings.Cut(page.raw, `"endCursor":"`)
	cursor, _, found := strings.Cut(cursor, `"`)
	if !found {
		t.Fatalf("no cursor: %s", page.raw)
	}

	calls := s.send(request{Query: `{ idempotentCalls(first: 1) { nodes { key requestId } pageInfo { endCursor } } }`}, acme...)
	if !strings.Contains(calls.raw, `"key":"k2"`) {
		t.Fatalf("one's own keys: %s", calls.raw)
	}
	_, callCursor, _ := strings.Cut(calls.raw, `"endCursor":"`)
	callCursor, _, _ = strings.Cut(callCursor, `"`)
	requestID := made.Extensions.Idempotency["createProject"].RequestID

	for what, c := range map[string]struct {
		request request
		want    string
	}{
		"keys":                {request{Query: `{ idempotentCalls { nodes { key } } }`}, `"nodes":[]`},
		"keys, after another": {request{Query: `{ idempotentCalls(after: "` + callCursor + `") { nodes { key } } }`}, `"nodes":[]`},
		"keys, of a request":  {request{Query: `{ idempotentCalls(requestId: "` + requestID + `") { nodes { key } } }`}, `"nodes":[]`},
		"key, looked up":      {request{Query: `{ idempotentCall(key: "k") { key } }`}, `"idempotentCall":null`},
		"project":             {request{Query: `{ project(id: "` + id + `") { id } }`}, `"project":null`},
		"projects":            {request{Query: `{ projects { nodes { id } } }`}, `"nodes":[]`},
		"cursor":              {request{Query: `{ projects(after: "` + cursor + `") { nodes { id } } }`}, `"nodes":[]`},
		"id, updated":         {rename("u", id, "Theirs"), "NOT_FOUND"},
		"id, archived": {
			request{Query: `mutation { archiveProject(input: {id: "` + id + `"}, idempotencyKey: "a") { project { id } } }`}, "NOT_FOUND",
		},
	} {
		if a := s.send(c.request, globex...); !strings.Contains(a.raw, c.want) || strings.Contains(a.raw, "Apollo") {
			t.Errorf("another tenant's %s: %s, want %s", what, a.raw, c.want)
		}
	}
	// Another tenant's key is a new one, with any payload.
	wantStatus(t, s.send(create("k", "Mercury"), globex...), "EXECUTED")
	wantStatus(t, s.send(create("k", "Apollo"), acme...), "REPLAYED")
	d.wantStored(3, 3)
}

// Calls of many tenants share transactions, and nothing else.
func TestTenants_InOneBatchGetTheirOwn(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	i := issuer.New(t)
	s, d := serveTo(t, i, url), connect(t, url)
	const tenants, calls = 20, 10
	var callers sync.WaitGroup
	for tenant := range tenants {
		header := bearer(i.Token(fmt.Sprintf(`tenant {"%d",\}`, tenant)))
		for call := range calls {
			callers.Go(func() {
				name := fmt.Sprintf("Project %d of %d", call, tenant)
				a := s.send(create(fmt.Sprint("key ", call), name), header...)
				if a.fieldStatus() != "EXECUTED" || a.project().Name != name {
					t.Errorf("%s: %s", name, a.raw)
				}
			})
		}
	}
	callers.Wait()
	if transactions := d.count(`select count(distinct created_at) from idempotency_keys`); transactions >= tenants*calls {
		t.Errorf("%d calls made %d transactions: none was shared", tenants*calls, transactions)
	}
	if mixed := d.count(`select count(*) from projects where tenant <> 'tenant {"' || split_part(name, ' ', 4) || '",\}'`); mixed > 0 {
		t.Errorf("%d projects are another tenant's", mixed)
	}
	d.wantStored(tenants*calls, tenants*calls)
}

// asRole connects as the server does.
func asRole(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	return connect(t, pgtest.AsRole(t, url)).conn
}

// The role of the pool sees what its setting names, whatever a statement says.
func TestBarrier_HoldsWithoutATenantCondition(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	i := issuer.New(t)
	s := serveTo(t, i, url)
	for _, tenant := range []string{"acme", "globex", "initech"} {
		wantStatus(t, s.send(create("k", tenant), bearer(i.Token(tenant))...), "EXECUTED")
	}
	conn := asRole(t, url)
	for setting, want := range map[string][]string{
		"":                  {},
		"{}":                {},
		`{""}`:              {},
		"{acme}":            {"acme"},
		"{acme,globex}":     {"acme", "globex"},
		`{"acme","nobody"}`: {"acme"},
	} {
		for _, query := range []string{`select name from projects order by name`, `select scope from idempotency_keys order by scope`} {
			tx, err := conn.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if setting != "" {
				if _, err := tx.Exec(t.Context(), `select set_config('onceql.tenants', $1, true)`, setting); err != nil {
					t.Fatal(err)
				}
			}
			rows, _ := tx.Query(t.Context(), query)
			got, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%q with %q: %v, %v; want %v", query, setting, got, err, want)
			}
			_ = tx.Rollback(t.Context())
		}
	}
}

func TestBarrier_LetsTheRoleDoNoMoreThanItsWork(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s := serve(t, url)
	wantStatus(t, s.send(create("k", "Apollo")), "EXECUTED")
	conn := asRole(t, url)
	const as = `select set_config('onceql.tenants', '{acme}', true); `
	for what, statement := range map[string]string{
		"alter":                     `alter table projects add column x int`,
		"drop":                      `drop table idempotency_keys`,
		"truncate":                  `truncate projects`,
		"switch the barrier off":    `alter table projects disable row level security`,
		"drop a policy":             `drop policy tenants on projects`,
		"change what a key did":     as + `update idempotency_keys set response_json = '{}'`,
		"remove a project":          as + `delete from projects`,
		"create":                    `create table x (y int)`,
		"write for another tenant":  as + `insert into projects (tenant, id, name, created_at, updated_at) values ('globex', gen_random_uuid(), 'x', now(), now())`,
		"write a key for another":   as + `insert into idempotency_keys select 'globex', 'k', 'createProject', sha256(''), 1, '{}', null, gen_random_uuid(), now(), now()`,
		"move a project to another": as + `insert into projects (tenant, id, name, created_at, updated_at) values ('acme', gen_random_uuid(), 'x', now(), now()); update projects set tenant = 'globex'`,
		"write a migration":         `insert into goose_db_version (version_id, is_applied) values (1000, true)`,
		"say who may serve":         `insert into schema_compatibility values (1000, 1)`,
	} {
		if _, err := conn.Exec(t.Context(), statement); err == nil {
			t.Errorf("the role may %s", what)
		}
	}
	// Its work is to insert keys and to purge them: SECURITY.md says what that means.
	const anyone = `begin; select set_config('onceql.tenants', '{""}', true); `
	for what, statement := range map[string]string{
		"have a key forgotten": anyone + `delete from idempotency_keys`,
		"replay what it likes": anyone + `insert into idempotency_keys select '', 'l', 'createProject', sha256(''), 1, '{}', null, gen_random_uuid(), now(), now()`,
	} {
		if _, err := conn.Exec(t.Context(), statement+`; rollback`); err != nil {
			t.Errorf("the role may not %s: %v", what, err)
		}
	}
	var owned int
	if err := conn.QueryRow(t.Context(), `select count(*) from pg_class where relowner = current_user::regrole`).Scan(&owned); err != nil || owned > 0 {
		t.Errorf("the role owns %d relations, %v", owned, err)
	}
	// The purge sees what is past its window, and nothing that may still be replayed.
	for setting, want := range map[string]int{"off": 0, "on": 0} {
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var n int
		if err := tx.QueryRow(t.Context(), `select count(*) from idempotency_keys, set_config('onceql.purge', $1, true)`, setting).Scan(&n); err != nil || n != want {
			t.Errorf("with the purge %s the role sees %d keys, %v", setting, n, err)
		}
		_ = tx.Rollback(t.Context())
	}
}
