package graph_test

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/onceql/onceql/graph"
)

func TestKeyedFields_AreThoseThatTheServerWouldRun(t *testing.T) {
	t.Parallel()
	config := graph.Config{Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	body := func(query string, variables map[string]any) []byte {
		text, err := json.Marshal(map[string]any{"query": query, "variables": variables})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	fields, err := graph.KeyedFields(t.Context(), config, "acme", body(`
		mutation ($name: String!, $no: Boolean!) {
			first: createProject(input: {description: null, name: $name}, idempotencyKey: "k1") { project { id } }
			createProject(input: {name: "b"}, idempotencyKey: "k2") @skip(if: $no) { project { id } }
			...rest
		}
		fragment rest on Mutation {
			archiveProject(input: {id: "00000000-0000-7000-8000-000000000000"}, idempotencyKey: "k3") { project { id } }
			__typename
		}`, map[string]any{"name": "Apollo", "no": true}))
	if err != nil || len(fields) != 2 {
		t.Fatalf("%d fields, %v", len(fields), err)
	}
	first, second := fields[0], fields[1]
	if first.Name != "first" || first.Call.Key != "k1" || first.Call.Scope != "acme" || first.Call.Operation != "createProject" ||
		string(first.Canonical) != `v1 createProject {"input":{"description":null,"name":"Apollo"}}` {
		t.Errorf("%+v %s", first, first.Canonical)
	}
	if second.Name != "archiveProject" || second.Call.Key != "k3" {
		t.Errorf("%+v", second)
	}

	for name, test := range map[string]struct{ body, want string }{
		"no JSON":        {`{"query":`, "BAD_USER_INPUT"},
		"a member twice": {`{"query":"{ __typename }","query":"{ __typename }"}`, "BAD_USER_INPUT"},
		"no document":    {string(body("mutation {", nil)), "GRAPHQL_PARSE_FAILED"},
		"no such field":  {string(body("mutation { nothing }", nil)), "GRAPHQL_VALIDATION_FAILED"},
		"a limit":        {string(body("mutation { "+strings.Repeat(`a: createProject(input: {name: "b"}, idempotencyKey: "k") { project { id } } `, 400)+"}", nil)), "LIMIT_EXCEEDED"},
		"no variable":    {string(body(`mutation ($name: String!) { createProject(input: {name: $name}, idempotencyKey: "k") { project { id } } }`, nil)), "name"},
	} {
		if fields, err := graph.KeyedFields(t.Context(), config, "", []byte(test.body)); !errors.Is(err, graph.ErrRefused) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, %v; want %s", name, fields, err, test.want)
		}
	}
	config.MaxBody = 100
	long := body(`mutation { createProject(input: {name: "`+strings.Repeat("b", 100)+`"}, idempotencyKey: "k") { project { id } } }`, nil)
	if fields, err := graph.KeyedFields(t.Context(), config, "", long); !errors.Is(err, graph.ErrRefused) {
		t.Errorf("a body that is too long: %v, %v", fields, err)
	}
	if _, err := graph.KeyedFields(t.Context(), config, "", body("{ projects { nodes { id } } }", nil)); err == nil || !strings.Contains(err.Error(), "query") {
		t.Errorf("a query: %v", err)
	}
}
