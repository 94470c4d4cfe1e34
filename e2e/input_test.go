package e2e_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/onceql/onceql/internal/pgtest"
)

func TestBadInput_IsRefusedWithItsCodeAndStoresNothing(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url), connect(t, url)
	body := func(r request) string {
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	named := func(name string) string { return body(create("k", name)) }
	keyed := func(key string) string { return body(create(key, "Apollo")) }
	document := func(text string) string { return body(request{Query: text}) }
	for name, c := range map[string]struct{ body, code string }{
		"empty key":                {keyed(""), "IDEMPOTENCY_KEY_REQUIRED"},
		"key of 256 bytes":         {keyed(strings.Repeat("k", 256)), "IDEMPOTENCY_KEY_INVALID"},
		"key with a line break":    {keyed("k\nlevel=INFO forged"), "IDEMPOTENCY_KEY_INVALID"},
		"key with DEL":             {keyed("k\x7fk"), "IDEMPOTENCY_KEY_INVALID"},
		"key not ASCII":            {keyed("schlüssel"), "IDEMPOTENCY_KEY_INVALID"},
		"key with a space before":  {keyed(" k"), "IDEMPOTENCY_KEY_INVALID"},
		"key with a space after":   {keyed("k "), "IDEMPOTENCY_KEY_INVALID"},
		"key of a space":           {keyed(" "), "IDEMPOTENCY_KEY_INVALID"},
		"key with NUL":             {keyed("k\x00"), "IDEMPOTENCY_KEY_INVALID"},
		"null key":                 {`{"query":"mutation($k: String!) {createProject(input: {name: \"a\"}, idempotencyKey: $k) {project {id}}}","variables":{"k":null}}`, "BAD_USER_INPUT"},
		"no key":                   {document(`mutation {createProject(input: {name: "a"}) {project {id}}}`), "GRAPHQL_VALIDATION_FAILED"},
		"NUL in a name":            {named("a\x00b"), "BAD_USER_INPUT"},
		"control character":        {named("a\u0085b"), "BAD_USER_INPUT"},
		"line break in a name":     {named("a\nlevel=ERROR forged"), "BAD_USER_INPUT"},
		"empty name":               {named(""), "BAD_USER_INPUT"},
		"white space for a name":   {named(" \t\u2003\n"), "BAD_USER_INPUT"},
		"name of 201 characters":   {named(strings.Repeat("é", 201)), "BAD_USER_INPUT"},
		"description of 10,001":    {body(createWith("k", map[string]any{"name": "a", "description": strings.Repeat("ü", 10_001)})), "BAD_USER_INPUT"},
		"NUL in a description":     {body(createWith("k", map[string]any{"name": "a", "description": "\x00"})), "BAD_USER_INPUT"},
		"number for a name":        {body(createWith("k", map[string]any{"name": 7})), "BAD_USER_INPUT"},
		"unknown field":            {body(createWith("k", map[string]any{"name": "a", "nom": "b"})), "BAD_USER_INPUT"},
		"lone surrogate":           {`{"query":"mutation {createProject(input: {name: \"a\"}, idempotencyKey: \"k\") {project {id}}}","variables":{"x":"\ud83d"}}`, "BAD_USER_INPUT"},
		"lone surrogate, literal":  {`{"query":"mutation {createProject(input: {name: \"\\ud83d\"}, idempotencyKey: \"k\") {project {id}}}"}`, "GRAPHQL_PARSE_FAILED"},
		"invalid UTF-8":            {"{\"query\":\"mutation {createProject(input: {name: \\\"\xff\\\"}, idempotencyKey: \\\"k\\\") {project {id}}}\"}", "BAD_USER_INPUT"},
		"duplicate member":         {`{"query":"{__typename}","query":"mutation {createProject(input: {name: \"a\"}, idempotencyKey: \"k\") {project {id}}}"}`, "BAD_USER_INPUT"},
		"unknown id":               {document(fmt.Sprintf(`mutation {archiveProject(input: {id: "%s"}, idempotencyKey: "k") {project {id}}}`, uuid.New())), "NOT_FOUND"},
		"malformed id":             {document(`mutation {archiveProject(input: {id: "1"}, idempotencyKey: "k") {project {id}}}`), "BAD_USER_INPUT"},
		"int for an id":            {document(`mutation {archiveProject(input: {id: 1}, idempotencyKey: "k") {project {id}}}`), "BAD_USER_INPUT"},
		"malformed id in a query":  {document(`{project(id: "'; drop table projects") {id}}`), "BAD_USER_INPUT"},
		"null for a name":          {document(fmt.Sprintf(`mutation {updateProject(input: {id: "%s", name: null}, idempotencyKey: "k") {project {id}}}`, uuid.New())), "BAD_USER_INPUT"},
		"huge int":                 {document(`{projects(first: 3000000000) {nodes {id}}}`), "BAD_USER_INPUT"},
		"int beyond int64":         {document(`{projects(first: 99999999999999999999) {nodes {id}}}`), "GRAPHQL_VALIDATION_FAILED"},
		"id beyond int64":          {document(`{project(id: 99999999999999999999) {id}}`), "GRAPHQL_VALIDATION_FAILED"},
		"huge int in a variable":   {`{"query":"query ($n: Int!) {projects(first: $n) {nodes {id}}}","variables":{"n":3000000000}}`, "BAD_USER_INPUT"},
		"variable beyond int64":    {`{"query":"query ($n: Int!) {projects(first: $n) {nodes {id}}}","variables":{"n":99999999999999999999}}`, "BAD_USER_INPUT"},
		"no page":                  {document(`{projects(first: 0) {nodes {id}}}`), "BAD_USER_INPUT"},
		"a page too large":         {document(`{projects(first: 101) {nodes {id}}}`), "BAD_USER_INPUT"},
		"a cursor of another kind": {document(`{projects(after: "abc") {nodes {id}}}`), "BAD_USER_INPUT"},
		"no JSON":                  {`mutation`, "BAD_USER_INPUT"},
		"null for a condition":     {`{"query":"mutation($b: Boolean = true) {createProject(input: {name: \"a\"}, idempotencyKey: \"k\") {project {id @skip(if: $b)}}}","variables":{"b":null}}`, "BAD_USER_INPUT"},
		"null for a default":       {`{"query":"mutation($n: String = \"a\") {createProject(input: {name: $n}, idempotencyKey: \"k\") {project {id}}}","variables":{"n":null}}`, "BAD_USER_INPUT"},
		"an object for a scalar":   {document(`mutation {createProject(input: {name: "a"}, idempotencyKey: "k") {project {id @include(if: {})}}}`), "BAD_USER_INPUT"},
		"a persisted query":        {`{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"secret"}}}`, "PERSISTED_QUERY_NOT_SUPPORTED"},
		"no GraphQL":               {document(`mutation {`), "GRAPHQL_PARSE_FAILED"},
		"too many tokens":          {document("{" + strings.Repeat(" a: __typename", 1000) + "}"), "LIMIT_EXCEEDED"},
	} {
		a := s.sendRaw(c.body)
		if a.code() != c.code || a.failure().Retryable || a.failure().RequestID != a.header.Get("X-Request-Id") {
			t.Errorf("%s: %d %s, want %s", name, a.status, a.raw, c.code)
		}
	}
	huge := s.sendRaw(named(strings.Repeat("a", 10<<20)))
	if huge.status != 413 || huge.code() != "LIMIT_EXCEEDED" {
		t.Errorf("a body of 10 MB: %d %s", huge.status, huge.raw)
	}
	d.wantStored(0, 0)
	wantSoundLog(t, s, "forged", "schlüssel", "drop table")

	for name, accepted := range map[string]string{
		"200 astral characters": strings.Repeat("😀", 200),
		"white space around":    "\u00a0 Apollo \n",
	} {
		a := s.send(create(name, accepted))
		wantStatus(t, a, "EXECUTED")
		if got := a.project().Name; got != strings.TrimSpace(accepted) {
			t.Errorf("%s: stored %q", name, got)
		}
	}
	wantStatus(t, s.send(create(strings.Repeat("~", 255), "Apollo")), "EXECUTED")
	// A document that another tool prints anew.
	block := "mutation { createProject(input: {name: \"a\", description: \"\"\"Hello\n        world\"\"\"}, idempotencyKey: \"block\") { project { id } } }"
	wantStatus(t, s.send(request{Query: block}), "EXECUTED")
	wantStatus(t, s.send(createWith("block", map[string]any{"name": "a", "description": "Hello\nworld"})), "REPLAYED")
}
