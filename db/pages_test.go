package db_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/db"
	"github.com/onceql/onceql/internal/pgtest"
)

// A plan is a node of what EXPLAIN says.
type plan struct {
	Type       string  `json:"Node Type"`
	Index      string  `json:"Index Name"`
	Condition  string  `json:"Index Cond"`
	Rows       float64 `json:"Actual Rows"`
	RowsUnused float64 `json:"Rows Removed by Filter"`
	Plans      []plan
}

// all are the plan's nodes.
func (p plan) all() []plan {
	nodes := []plan{p}
	for _, below := range p.Plans {
		nodes = append(nodes, below.all()...)
	}
	return nodes
}

// Whichever page is asked for, and however many archived projects there are, no more rows
// are read than the page has. Postgres may plan for the values, or once for all values.
func TestListProjects_IsARangeOfAnIndex(t *testing.T) {
	t.Parallel()
	address := pgtest.URL(t)
	owner, role := connect(t, address), connect(t, pgtest.AsRole(t, address))
	exec := func(conn *pgx.Conn, sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	exec(owner, `grant select on projects to onceql_tests`)
	// A few are not archived, and older than all that are.
	exec(owner, `insert into projects (tenant, id, name, created_at, updated_at, archived_at)
		select tenant, gen_random_uuid(), 'x', at, at, case when i > 30 then at end
		from (values ('a', 300000), ('b', 1000)) tenants (tenant, n), generate_series(1, n) i,
			lateral (select timestamptz '2026-01-31' + i * interval '1 second' as at) a`)
	exec(owner, `analyze projects`)
	exec(role, `set onceql.tenants = '{a}'`)
	for i, mode := range []string{"force_custom_plan", "force_generic_plan", "force_custom_plan", "force_generic_plan"} {
		exec(role, `set plan_cache_mode = `+mode)
		for _, after := range []bool{false, true} {
			for archived, index := range map[bool]string{false: "projects_current_idx", true: "projects_newest_idx"} {
				descriptions := i < 2
				name := fmt.Sprintf("%s, after a cursor: %t, with archived ones: %t, with descriptions: %t", mode, after, archived, descriptions)
				values := fmt.Sprintf(`'a', 21, %t`, descriptions)
				if after {
					values += `, timestamptz '2026-01-31' + interval '29 seconds', gen_random_uuid()`
				}
				exec(role, `prepare page as `+db.ListSQL(after, archived))
				var explained []struct{ Plan plan }
				var text string
				if err := role.QueryRow(t.Context(), `explain (analyze, format json) execute page (`+values+`)`).Scan(&text); err != nil {
					t.Fatal(err)
				}
				exec(role, `deallocate page`)
				if err := json.Unmarshal([]byte(text), &explained); err != nil || len(explained) != 1 {
					t.Fatalf("%v: %s", err, text)
				}
				scans := 0
				for _, node := range explained[0].Plan.all() {
					switch {
					case node.Index != "":
						scans++
						if node.Type != "Index Scan" || node.Index != index || node.Rows != 21 || node.RowsUnused != 0 ||
							!strings.Contains(node.Condition, "tenant = ") || strings.Contains(node.Condition, "created_at") != after {
							t.Errorf("%s: %+v", name, node)
						}
					case node.Type != "Limit" && node.Type != "Result":
						t.Errorf("%s: %+v", name, node)
					}
				}
				if scans != 1 {
					t.Errorf("%s:\n%s", name, text)
				}
			}
		}
	}
}
