package idempotency_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/onceql/onceql/idempotency"
)

// executed stores the rows of calls that were executed so many seconds ago, oldest first.
func (f *fixture) executed(rows string) {
	f.t.Helper()
	f.exec(`insert into idempotency_keys (scope, key, operation, request_hash, hash_version, response_json, request_id, execution_id, created_at, expires_at, retained_until)
		select split_part(row, ' ', 1), split_part(row, ' ', 2), split_part(row, ' ', 3), sha256(convert_to(row, 'UTF8')), 1,
			'{"id": 1}', nullif(split_part(row, ' ', 4), ''), gen_random_uuid(), at, at + interval '24 hours', at + interval '72 hours'
		from (select row, date_trunc('second', now()) - n * interval '1 second' as at
			from unnest(string_to_array($1, E'\n')) with ordinality as rows (row, n)) as made`, rows)
}

func names(records []idempotency.Record) string {
	var list []string
	for _, r := range records {
		list = append(list, r.Scope+"/"+r.Key)
	}
	return strings.Join(list, " ")
}

func TestList_FiltersAndIsNewestFirst(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	keys := idempotency.OpenKeys(f.pool)
	f.executed("a k1 write r1\na k2 read r1\nb k1 write r2\na k3 write\nb k4 read r1")
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	f.exec(`update idempotency_keys set trace_id = $1 where key = 'k3'`, trace)
	f.exec(`update idempotency_keys set trace_id = $1 || '-00f067aa0ba902b7' where key = 'k2'`, trace)
	now := time.Now()
	for name, test := range map[string]struct {
		filter idempotency.Filter
		want   string
	}{
		"all":               {idempotency.Filter{AllScopes: true}, "a/k1 a/k2 b/k1 a/k3 b/k4"},
		"a scope":           {idempotency.Filter{Scope: "a"}, "a/k1 a/k2 a/k3"},
		"the empty scope":   {idempotency.Filter{}, ""},
		"a key":             {idempotency.Filter{AllScopes: true, Key: "k1"}, "a/k1 b/k1"},
		"a key of a scope":  {idempotency.Filter{Scope: "b", Key: "k1"}, "b/k1"},
		"an operation":      {idempotency.Filter{AllScopes: true, Operation: "read"}, "a/k2 b/k4"},
		"a request":         {idempotency.Filter{AllScopes: true, RequestID: "r1"}, "a/k1 a/k2 b/k4"},
		"a scope's request": {idempotency.Filter{Scope: "a", RequestID: "r1", Operation: "read"}, "a/k2"},
		"a trace":           {idempotency.Filter{AllScopes: true, TraceID: trace}, "a/k2 a/k3"},
		"a scope's trace":   {idempotency.Filter{Scope: "b", TraceID: trace}, ""},
		"since":             {idempotency.Filter{AllScopes: true, From: now.Add(time.Hour)}, ""},
		"until":             {idempotency.Filter{Scope: "a", Until: now.Add(-time.Hour)}, ""},
	} {
		records, err := keys.List(t.Context(), test.filter, nil, 100)
		if err != nil || names(records) != test.want {
			t.Errorf("%s: %q, %v; want %q", name, names(records), err, test.want)
		}
	}
	all, err := keys.List(t.Context(), idempotency.Filter{AllScopes: true}, nil, 100)
	if err != nil {
		t.Fatal(err)
	}
	between := idempotency.Filter{AllScopes: true, From: all[3].ExecutedAt, Until: all[0].ExecutedAt}
	if records, err := keys.List(t.Context(), between, nil, 100); err != nil || names(records) != "a/k2 b/k1 a/k3" {
		t.Errorf("between two: %q, %v", names(records), err)
	}
	first := all[0]
	if first.Operation != "write" || first.RequestID != "r1" || first.FingerprintVersion != 1 || first.Bytes < 5 || first.Expired ||
		first.ExpiresAt.Sub(first.ExecutedAt) != 24*time.Hour || first.RetainedUntil.Sub(first.ExecutedAt) != 72*time.Hour {
		t.Errorf("the newest is %+v", first)
	}
}

// Rows of one moment are as many as a batch has, and pages end among them.
func TestList_PagesMeetEveryRowOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`insert into idempotency_keys (scope, key, operation, request_hash, hash_version, response_json, request_id, execution_id, created_at, expires_at, retained_until)
		select 's' || i % 3, 'k' || i, 'write', sha256('a'), 1, '{}', null, gen_random_uuid(), at, at + interval '1 hour', at + interval '2 hours'
		from (select i, date_trunc('hour', now()) - (i / 40) * interval '1 microsecond' as at from generate_series(1, 500) i) as made`)
	keys := idempotency.OpenKeys(f.pool)
	for name, filter := range map[string]idempotency.Filter{"all": {AllScopes: true}, "a scope": {Scope: "s1"}} {
		whole, err := keys.List(t.Context(), filter, nil, 1000)
		if err != nil {
			t.Fatal(err)
		}
		var paged []idempotency.Record
		var after *idempotency.Position
		for {
			page, err := keys.List(t.Context(), filter, after, 7)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			paged = append(paged, page...)
			after = new(page[len(page)-1].Position())
		}
		if diff := cmp.Diff(whole, paged); diff != "" || len(whole) < 160 {
			t.Errorf("%s: %d rows, and in pages others:\n%s", name, len(whole), diff)
		}
		if !slices.IsSortedFunc(whole, func(a, b idempotency.Record) int { return b.ExecutedAt.Compare(a.ExecutedAt) }) {
			t.Errorf("%s: not newest first", name)
		}
	}
}

// The engine lists what the role sees: with the scope's name, the scope's.
func TestListOn_SeesTheScopeBehindPolicies(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.executed("a k1 write r1\nb k1 write r2")
	pool := f.open(f.asRole(), 2)
	engine := f.engineOn(pool, idempotency.Config{})
	records, err := engine.ListOn(t.Context(), pool, idempotency.Filter{Scope: "b"}, nil, 10)
	if err != nil || names(records) != "b/k1" {
		t.Errorf("%q, %v", names(records), err)
	}
	if records, err := engine.ListOn(t.Context(), pool, idempotency.Filter{AllScopes: true}, nil, 10); err != nil || len(records) > 0 {
		t.Errorf("%q of all scopes, %v; want none", names(records), err)
	}
}

func TestList_IsCutShort(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	lock, err := f.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Rollback(t.Context()) }()
	if _, err := lock.Exec(t.Context(), `lock table idempotency_keys in access exclusive mode`); err != nil {
		t.Fatal(err)
	}
	keys := idempotency.OpenKeys(f.open(f.url, 2))
	_, err = keys.List(t.Context(), idempotency.Filter{AllScopes: true, Timeout: 20 * time.Millisecond}, nil, 10)
	if !errors.Is(err, idempotency.ErrListSlow) || !errors.Is(err, idempotency.ErrUnavailable) {
		t.Errorf("%v, want ErrListSlow", err)
	}
}

// A page of a large table is a range of an index, wherever in the table it is.
func TestList_ReadsAPageAndNotTheTable(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`insert into idempotency_keys (scope, key, operation, request_hash, hash_version, response_json, request_id, execution_id, created_at, expires_at, retained_until)
		select 's' || i % 50, 'k' || i, 'write', sha256('a'), 1, '{}', 'r' || i, gen_random_uuid(), at, at + interval '1 hour', at + interval '2 hours'
		from (select i, now() - (i / 20) * interval '1 second' as at from generate_series(1, 100000) i) as made`)
	f.exec(`vacuum analyze idempotency_keys`)
	var middle time.Time
	if err := f.pool.QueryRow(t.Context(), `select created_at from idempotency_keys where key = 'k50000'`).Scan(&middle); err != nil {
		t.Fatal(err)
	}
	for name, filter := range map[string]idempotency.Filter{
		"all":                  {AllScopes: true},
		"a scope":              {Scope: "s1"},
		"a scope without rows": {Scope: "none"},
		"all until":            {AllScopes: true, Until: middle},
		"a scope until":        {Scope: "s1", Until: middle},
	} {
		for _, after := range []*idempotency.Position{nil, {ExecutedAt: middle, Scope: "s1", Key: "k50000"}} {
			if read := f.rowsRead(filter, after, 50); read > 200 {
				t.Errorf("%s, after %v: %d rows were read for a page of 50", name, after, read)
			}
		}
	}
}

// rowsRead is how many rows, of the table and of its indexes, a list takes.
func (f *fixture) rowsRead(filter idempotency.Filter, after *idempotency.Position, limit int) int64 {
	f.t.Helper()
	text, args := idempotency.ListStatement(filter, after, limit)
	tx, err := f.pool.Begin(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(f.t.Context()) }()
	if _, err := tx.Exec(f.t.Context(), idempotency.ListSettings, "5000", filter.AllScopes); err != nil {
		f.t.Fatal(err)
	}
	var plan []struct{ Plan planNode }
	if err := tx.QueryRow(f.t.Context(), `explain (analyze, format json) `+text, args...).Scan(&plan); err != nil {
		f.t.Fatal(err)
	}
	return plan[0].Plan.read()
}

// A planNode is what Postgres says of a step that it ran.
type planNode struct {
	Node    string     `json:"Node Type"`
	Rows    float64    `json:"Actual Rows"`
	Removed float64    `json:"Rows Removed by Filter"`
	Plans   []planNode `json:"Plans"`
}

func (n planNode) read() int64 {
	if len(n.Plans) == 0 {
		return int64(n.Rows + n.Removed)
	}
	var total int64
	for _, plan := range n.Plans {
		total += plan.read()
	}
	return total
}
