package graph_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/graph"
	"github.com/onceql/onceql/internal/pgtest"
)

// A batch is what the pool sent last that lists keys, as its tracer: settings, and then the
// statement.
type batch struct {
	mu         sync.Mutex
	sent, last []pgx.TraceBatchQueryData
}

func (*batch) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (*batch) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (b *batch) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent = nil
	return ctx
}

func (b *batch) TraceBatchQuery(_ context.Context, _ *pgx.Conn, query pgx.TraceBatchQueryData) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent = append(b.sent, query)
	if strings.Contains(query.SQL, "order by created_at") {
		b.last = slices.Clone(b.sent)
	}
}

func (*batch) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// A plan is a node of what EXPLAIN says.
type plan struct {
	Type       string  `json:"Node Type"`
	Index      string  `json:"Index Name"`
	Condition  string  `json:"Index Cond"`
	Rows       float64 `json:"Actual Rows"`
	RowsUnused float64 `json:"Rows Removed by Filter"`
	Plans      []plan
}

// Whichever page of however many keys is asked for, no more rows are read than it has: also
// behind the policies, which keep some conditions from indexes.
func TestIdempotentCalls_AreARangeOfAnIndex(t *testing.T) {
	t.Parallel()
	address := pgtest.URL(t)
	config, err := pgxpool.ParseConfig(pgtest.AsRole(t, address))
	if err != nil {
		t.Fatal(err)
	}
	unbounded, err := pgxpool.New(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(unbounded.Close)
	owner := newAPIOn(t, unbounded)
	for tenant, n := range map[string]int{"a": 30_000, "b": 300} {
		owner.fillCalls(t, tenant, n)
	}
	for _, sql := range []string{`grant select on idempotency_keys to onceql_tests`, `vacuum analyze idempotency_keys`} {
		if _, err := owner.pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	statement := &batch{}
	config.ConnConfig.Tracer = statement
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	a := makeAPI(t, pool, graph.Config{})
	ctx := as(t.Context(), "a")
	const middle = "2026-01-31T12:00:00.128Z" // Of 10 ms.
	half, code := a.listCalls(ctx, t, map[string]any{"to": middle, "first": 1})
	if code != "" || len(half.Nodes) != 1 {
		t.Fatalf("%q, %+v", code, half)
	}
	for name, c := range map[string]struct {
		variables map[string]any
		index     string
		most      float64
	}{
		"the first page": {map[string]any{}, "idempotency_keys_newest_idx", 21},
		"a later page":   {map[string]any{"after": half.PageInfo.EndCursor}, "idempotency_keys_newest_idx", 22},
		"until a time":   {map[string]any{"to": middle}, "idempotency_keys_newest_idx", 21},
		"from a time":    {map[string]any{"from": middle}, "idempotency_keys_newest_idx", 21},
		"all at once":    {map[string]any{"from": "2026-01-31T12:00:00.124Z", "to": middle, "after": half.PageInfo.EndCursor}, "idempotency_keys_newest_idx", 22},
		"one in ten":     {map[string]any{"operation": "archiveProject"}, "idempotency_keys_newest_idx", 230},
		"a request in time": { // Among those of a time, by whichever index.
			map[string]any{"requestId": "none", "from": "2026-01-31T12:00:00.128Z", "to": "2026-01-31T12:00:00.129Z"}, "", 3003},
	} {
		if _, code := a.listCalls(ctx, t, c.variables); code != "" {
			t.Fatalf("%s: %q", name, code)
		}
		wantRange(t, pool, statement, name, c.index, c.most)
	}
	got := a.post(ctx, t, `{ idempotentCall(key: "15000") { key } }`, nil)
	if got.text != `{"data":{"idempotentCall":{"key":"15000"}}}` {
		t.Fatal(got.text)
	}
	wantRange(t, pool, statement, "one key", "idempotency_keys_pkey", 1)
}

// wantRange explains the last statement with the settings that it had, as the role: it reads so many rows at
// most, of the index alone, or of any.
func wantRange(t *testing.T, pool *pgxpool.Pool, statement *batch, name, index string, most float64) {
	t.Helper()
	statement.mu.Lock()
	sent := slices.Clone(statement.last)
	statement.mu.Unlock()
	var text string
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		settings, list := sent[:len(sent)-1], sent[len(sent)-1]
		for _, setting := range settings {
			if _, err := tx.Exec(t.Context(), setting.SQL, setting.Args...); err != nil {
				return err
			}
		}
		return tx.QueryRow(t.Context(), `explain (analyze, format json) `+list.SQL, list.Args...).Scan(&text)
	})
	var explained []struct{ Plan plan }
	if err == nil {
		err = json.Unmarshal([]byte(text), &explained)
	}
	if err != nil || len(explained) != 1 {
		t.Fatalf("%s: %v: %s", name, err, text)
	}
	scans := 0
	var walk func(plan)
	walk = func(node plan) {
		if strings.HasSuffix(node.Type, "Scan") {
			scans++
			if node.Type != "Index Scan" && node.Type != "Index Scan Backward" || index != "" && node.Index != index || node.Rows+node.RowsUnused > most {
				t.Errorf("%s: %+v", name, node)
			}
		}
		for _, below := range node.Plans {
			walk(below)
		}
	}
	walk(explained[0].Plan)
	if scans != 1 {
		t.Errorf("%s:\n%s", name, text)
	}
}
