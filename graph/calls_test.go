package graph_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/onceql/onceql/graph"
	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/internal/identity"
	"github.com/onceql/onceql/internal/pgtest"
)

// fillCalls stores calls with the keys 0 to n-1, three to each instant, for a tenant. Every
// tenth is archiveProject's.
func (a *api) fillCalls(t testing.TB, tenant string, n int) {
	t.Helper()
	_, err := a.pool.Exec(t.Context(), `
		insert into idempotency_keys (scope, key, operation, request_hash, hash_version, response_json, request_id, execution_id, created_at, expires_at, retained_until)
		select $1, i, case i % 10 when 0 then 'archiveProject' else 'createProject' end, sha256(i::text::bytea), 1, '{}', 'request-' || i / 2, gen_random_uuid(),
			at, at + interval '24 hours', at + interval '72 hours'
		from generate_series(0, $2 - 1) i, lateral (select timestamptz '2026-01-31T12:00:00.123456Z' + i / 3 * interval '1 microsecond' as at) a`,
		tenant, n)
	if err != nil {
		t.Fatal(err)
	}
}

type callPage struct {
	Edges []struct {
		Cursor string
		Node   struct{ Key string }
	}
	Nodes    []struct{ Key string }
	PageInfo struct {
		HasNextPage, HasPreviousPage bool
		StartCursor, EndCursor       *string
	}
}

func (p callPage) keys() []string {
	keys := []string{}
	for _, node := range p.Nodes {
		keys = append(keys, node.Key)
	}
	return keys
}

// listCalls returns a page, or the code of the one error.
func (a *api) listCalls(ctx context.Context, t testing.TB, variables map[string]any) (callPage, string) {
	t.Helper()
	got := a.post(ctx, t, `query($first: Int! = 20, $after: String, $operation: String, $from: DateTime, $to: DateTime, $requestId: String) {
		idempotentCalls(first: $first, after: $after, operation: $operation, from: $from, to: $to, requestId: $requestId) {
			edges { cursor node { key } } nodes { key } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
		}
	}`, variables)
	var data struct{ IdempotentCalls callPage }
	if len(got.Data) > 0 && string(got.Data) != "null" {
		if err := json.Unmarshal(got.Data, &data); err != nil {
			t.Fatalf("%v: %s", err, got.text)
		}
	}
	p := data.IdempotentCalls
	if len(p.Edges) != len(p.Nodes) {
		t.Errorf("%d edges and %d nodes", len(p.Edges), len(p.Nodes))
	}
	for i, edge := range p.Edges {
		if edge.Node != p.Nodes[i] {
			t.Errorf("edge %d is %v, node %v", i, edge.Node, p.Nodes[i])
		}
	}
	if n := len(p.Edges); n > 0 && (p.Edges[0].Cursor != *p.PageInfo.StartCursor || p.Edges[n-1].Cursor != *p.PageInfo.EndCursor) {
		t.Errorf("the page's cursors are not those of its edges: %+v", p)
	}
	return p, got.code(t)
}

func TestIdempotentCalls_ComeInPagesNewestFirst(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	const n = 103
	a.fillCalls(t, "", n)
	a.fillCalls(t, "another", 5)
	for _, size := range []int{1, 7, 100} {
		var keys []string
		var after *string
		for {
			p, code := a.listCalls(t.Context(), t, map[string]any{"first": size, "after": after})
			if code != "" || len(p.Nodes) > size || len(p.Nodes) == 0 {
				t.Fatalf("%q, a page of %d, %d asked for", code, len(p.Nodes), size)
			}
			if p.PageInfo.HasPreviousPage != (after != nil) || p.PageInfo.HasNextPage != (len(keys)+len(p.Nodes) < n) {
				t.Errorf("after %d: %+v", len(keys), p.PageInfo)
			}
			keys = append(keys, p.keys()...)
			if !p.PageInfo.HasNextPage {
				break
			}
			after = p.PageInfo.EndCursor
		}
		for i, key := range keys {
			var number int
			fmt.Sscan(key, &number)
			if number/3 != (n-1-i)/3 {
				t.Errorf("pages of %d: the key %s is in place %d", size, key, i)
			}
		}
		slices.Sort(keys)
		if len(slices.Compact(keys)) != n {
			t.Errorf("pages of %d have %d keys, want %d", size, len(keys), n)
		}
	}
	// After another tenant's cursor there is one's own.
	theirs, _ := a.listCalls(as(t.Context(), "another"), t, map[string]any{"first": 1})
	if p, code := a.listCalls(t.Context(), t, map[string]any{"after": theirs.PageInfo.EndCursor}); code != "" || cmp.Diff([]string{"3", "2", "1", "0"}, p.keys()) != "" {
		t.Errorf("after another's cursor: %q, %v", code, p.keys())
	}
	if p, code := a.listCalls(as(t.Context(), "nobody"), t, nil); code != "" || len(p.Nodes) > 0 || p.PageInfo.EndCursor != nil || p.PageInfo.HasNextPage {
		t.Errorf("a tenant without keys: %q, %+v", code, p)
	}
}

func TestIdempotentCalls_AreFiltered(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.fillCalls(t, "", 30)
	a.fillCalls(t, "another", 30)
	const none = "0001-01-01T00:00:00.000Z"
	for name, c := range map[string]struct {
		variables map[string]any
		want      []string
	}{
		"operation":             {map[string]any{"operation": "archiveProject"}, []string{"20", "10", "0"}},
		"request":               {map[string]any{"requestId": "request-7"}, []string{"15", "14"}},
		"both":                  {map[string]any{"requestId": "request-5", "operation": "archiveProject"}, []string{"10"}},
		"nothing of the name":   {map[string]any{"operation": "createproject"}, []string{}},
		"no pattern":            {map[string]any{"operation": "%"}, []string{}},
		"no SQL":                {map[string]any{"requestId": "' or true --"}, []string{}},
		"null is absent":        {map[string]any{"operation": nil, "from": nil, "to": nil, "requestId": "request-0"}, []string{"1", "0"}},
		"from":                  {map[string]any{"requestId": "request-0", "from": "2026-01-31T12:00:00.123Z"}, []string{"1", "0"}},
		"from later":            {map[string]any{"from": "2026-01-31T12:00:00.124Z"}, []string{}},
		"to":                    {map[string]any{"requestId": "request-0", "to": "2026-01-31T12:00:00.124Z"}, []string{"1", "0"}},
		"to the moment":         {map[string]any{"to": "2026-01-31T12:00:00.123Z"}, []string{}},
		"in another zone":       {map[string]any{"requestId": "request-0", "to": "2026-01-31T14:00:00.124+02:00"}, []string{"1", "0"}},
		"to the first time":     {map[string]any{"to": none}, []string{}},
		"from the first time":   {map[string]any{"requestId": "request-0", "from": none}, []string{"1", "0"}},
		"to the last time":      {map[string]any{"requestId": "request-0", "to": "9999-12-31T23:59:59.999Z"}, []string{"1", "0"}},
		"from behind to":        {map[string]any{"from": "2027-01-01T00:00:00.000Z", "to": "2026-01-01T00:00:00.000Z"}, []string{}},
		"from before all years": {map[string]any{"requestId": "request-0", "from": "0000-01-01T00:00:00.000Z"}, []string{"1", "0"}},
	} {
		if p, code := a.listCalls(t.Context(), t, c.variables); code != "" || cmp.Diff(c.want, p.keys()) != "" {
			t.Errorf("%s: %q, %v, want %v", name, code, p.keys(), c.want)
		}
	}
}

func TestIdempotentCalls_RefuseWhatCanNotBeMeant(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.fillCalls(t, "", 2)
	a.fill(t, "", 2)
	first, _ := a.listCalls(t.Context(), t, map[string]any{"first": 1})
	projects, _ := a.list(t.Context(), t, map[string]any{"first": 1})
	cursor := *first.PageInfo.EndCursor
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		t.Fatal(err)
	}
	altered := func(i int, to byte) string {
		changed := slices.Clone(raw)
		changed[i] = to
		return base64.RawURLEncoding.EncodeToString(changed)
	}
	for name, variables := range map[string]map[string]any{
		"first 0":               {"first": 0},
		"first 101":             {"first": 101},
		"an empty operation":    {"operation": ""},
		"an empty request":      {"requestId": ""},
		"a NUL":                 {"operation": "a\x00"},
		"another NUL":           {"requestId": "\x00"},
		"a long request":        {"requestId": strings.Repeat("x", 1001)},
		"a day":                 {"from": "2026-01-31"},
		"no cursor":             {"after": ""},
		"text":                  {"after": "the next page, please"},
		"a cursor of projects":  {"after": *projects.PageInfo.EndCursor},
		"another version":       {"after": altered(0, 1)},
		"before 1970":           {"after": altered(1, 0xff)},
		"after 9999":            {"after": altered(1, 0x7f)},
		"a cursor without key":  {"after": base64.RawURLEncoding.EncodeToString(raw[:9])},
		"a key with a NUL":      {"after": base64.RawURLEncoding.EncodeToString(append(slices.Clone(raw), 0))},
		"a key that is none":    {"after": base64.RawURLEncoding.EncodeToString(append(slices.Clone(raw), ' '))},
		"a key beyond all keys": {"after": base64.RawURLEncoding.EncodeToString(append(slices.Clone(raw), strings.Repeat("k", 256)...))},
		"a line break":          {"after": cursor + "\n"},
	} {
		if _, code := a.listCalls(t.Context(), t, variables); code != "BAD_USER_INPUT" {
			t.Errorf("%s is %q", name, code)
		}
	}
	// And the other way round.
	if _, code := a.list(t.Context(), t, map[string]any{"after": cursor}); code != "BAD_USER_INPUT" {
		t.Errorf("a cursor of calls among projects is %q", code)
	}
}

const allOfACall = `{ key operation executedAt expiresAt expired requestId retainedUntil keyHash traceId fingerprint fingerprintVersion }`

// What one key did, and the list of what keys did, say the same.
func TestIdempotentCalls_TellWhatAnIncidentNeeds(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.fillCalls(t, "acme", 3)
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	if _, err := a.pool.Exec(t.Context(), `update idempotency_keys set trace_id = $1, created_at = created_at + interval '1 second' where key = '1'`, trace); err != nil {
		t.Fatal(err)
	}
	ctx := as(t.Context(), "acme")
	got := a.post(ctx, t, `{ idempotentCall(key: "1") `+allOfACall+` idempotentCalls { nodes `+allOfACall+` } }`, nil)
	var data struct {
		IdempotentCall  map[string]any
		IdempotentCalls struct{ Nodes []map[string]any }
	}
	if err := json.Unmarshal(got.Data, &data); err != nil || len(data.IdempotentCalls.Nodes) != 3 {
		t.Fatalf("%v: %s", err, got.text)
	}
	if diff := cmp.Diff(data.IdempotentCall, data.IdempotentCalls.Nodes[0]); diff != "" {
		t.Errorf("the one and the list differ:\n%s", diff)
	}
	want := map[string]any{
		"key": "1", "operation": "createProject", "requestId": "request-0", "expired": true,
		"executedAt": "2026-01-31T12:00:01.123Z", "expiresAt": "2026-02-01T12:00:00.123Z", "retainedUntil": "2026-02-03T12:00:00.123Z",
		"keyHash": idempotency.KeyHash("acme", "1"), "traceId": trace, "fingerprintVersion": 1.0,
		"fingerprint": "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b", // printf 1 | sha256sum
	}
	if diff := cmp.Diff(want, data.IdempotentCall); diff != "" {
		t.Error(diff)
	}
}

// One scope more opens the list; what a token could do without it, it still can.
func TestIdempotentCalls_TakeAScope(t *testing.T) {
	t.Parallel()
	type scopesKey struct{}
	a := makeAPI(t, pgtest.Pool(t), graph.Config{May: func(ctx context.Context, scope string) bool {
		return slices.Contains(ctx.Value(scopesKey{}).([]string), scope)
	}})
	a.fillCalls(t, "", 1)
	const list, one, projects = `idempotentCalls { nodes { key fingerprint traceId fingerprintVersion } }`, `idempotentCall(key: "0") { key operation keyHash fingerprint traceId fingerprintVersion }`, `projects { nodes { id } }`
	for _, c := range []struct {
		scopes  []string
		field   string
		allowed bool
		sees    bool
	}{
		{nil, list, false, false},
		{nil, one, false, false},
		{[]string{identity.ScopeRead, identity.ScopeWrite}, list, false, false},
		{[]string{identity.ScopeRead}, one, true, false},
		{[]string{identity.ScopeWrite}, one, false, false},
		{[]string{identity.ScopeKeys}, list, true, true},
		{[]string{identity.ScopeKeys}, one, true, true},
		{[]string{identity.ScopeKeys}, projects, false, false},
		{[]string{identity.ScopeKeys, identity.ScopeRead}, `idempotentCalls: projects { nodes { id } }`, true, false},
		{[]string{identity.ScopeKeys}, `idempotentCalls: projects { nodes { id } }`, false, false},
		{[]string{identity.ScopeRead}, `projects: ` + list, false, false},
		{[]string{identity.ScopeRead, identity.ScopeKeys}, one, true, true},
	} {
		ctx := context.WithValue(t.Context(), scopesKey{}, c.scopes)
		got := a.post(ctx, t, `{ `+c.field+` }`, nil)
		name := fmt.Sprintf("%s with %v", c.field, c.scopes)
		sees := regexp.MustCompile(`"fingerprint":"[0-9a-f]{64}"`).MatchString(got.text) && strings.Contains(got.text, `"fingerprintVersion":1`)
		if c.allowed && len(got.Errors) > 0 || !c.allowed && got.code(t) != "FORBIDDEN" || sees != c.sees {
			t.Errorf("%s: %s", name, got.text)
		}
		if !c.allowed && c.field == list && !strings.Contains(got.Errors[0].Message, identity.ScopeKeys) {
			t.Errorf("%s does not say which scope it takes: %s", name, got.text)
		}
	}
}
