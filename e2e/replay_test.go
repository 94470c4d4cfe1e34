package e2e_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/onceql/onceql/internal/pgtest"
)

func TestReplay_OfTheSameCallInAnyDress(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url), connect(t, url)

	input := map[string]any{"name": "Apollo", "description": "To the Moon,\nand back"}
	first := s.send(createWith("k", input), "X-Request-Id", "the-first")
	wantStatus(t, first, "EXECUTED")
	if first.header.Get("Idempotency-Replayed") != "" {
		t.Error("the first answer says that it is a replay")
	}
	want := first.project()
	if want.Name != "Apollo" || want.ID == "" {
		t.Fatalf("created %+v", want)
	}
	vars := map[string]any{"key": "k", "input": input, "name": "Apollo", "description": input["description"]}
	for name, again := range map[string]request{
		"the same": createWith("k", input),
		"another operation's name": {
			OperationName: "Other", Query: `mutation Other($input: CreateProjectInput!, $key: String!) {
				createProject(input: $input, idempotencyKey: $key) { project { id name description } } }`,
		},
		"no operation's name, another selection": {
			Query: `mutation ($key: String!, $input: CreateProjectInput!) {
				createProject(idempotencyKey: $key, input: $input) { project { description other: updatedAt name id archivedAt __typename } __typename } }`,
		},
		"an alias": {
			Query: `mutation ($input: CreateProjectInput!, $key: String!) {
				again: createProject(input: $input, idempotencyKey: $key) { project { id name description } } }`,
		},
		"fragments": {
			Query: `mutation ($input: CreateProjectInput!, $key: String!) { ...Everything }
				fragment Everything on Mutation { createProject(input: $input, idempotencyKey: $key) { ...All } }
				fragment All on CreateProjectPayload { project { ... on Project { id name description } } }`,
		},
		"literals": {
			Query: `mutation { createProject(input: {name: "Apollo", description: "To the Moon,\nand back"}, idempotencyKey: "k") {
				project { id name description } } }`,
		},
		"a block string, fields in another order": {
			Query: "mutation { createProject(idempotencyKey: \"k\", input: {description: \"\"\"\n  To the Moon,\n  and back\n\"\"\", name: \"Apollo\"}) {" +
				" project { id name description } } }",
		},
		"escapes": {
			Query: `mutation { createProject(input: {name: "\u0041p\u{6F}llo", description: "To the Moon,\u000Aand back"}, idempotencyKey: "k") {
				project { id name description } } }`,
		},
		"variables inside the object": {
			Query: `mutation ($name: String!, $description: String, $key: String!) {
				createProject(input: {name: $name, description: $description}, idempotencyKey: $key) { project { id name description } } }`,
		},
		"defaults of the operation's variables": {
			Query: `mutation ($input: CreateProjectInput! = {name: "Apollo", description: "To the Moon,\nand back"}, $key: String! = "k") {
				createProject(input: $input, idempotencyKey: $key) { project { id name description } } }`,
			Variables: map[string]any{},
		},
	} {
		if again.Variables == nil {
			again.Variables = vars
		}
		a := s.send(again)
		if got := a.fieldStatus(); got != "REPLAYED" || a.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("%s: status %q, header %q: %s", name, got, a.header.Get("Idempotency-Replayed"), a.raw)
			continue
		}
		if diff := cmp.Diff(want, a.project()); diff != "" {
			t.Errorf("%s: the replay differs (-first +replay):\n%s", name, diff)
		}
		for _, f := range a.Extensions.Idempotency {
			if f.RequestID != "the-first" || !f.ExecutedAt.Equal(first.Extensions.Idempotency["createProject"].ExecutedAt) {
				t.Errorf("%s: the replay names another execution: %+v", name, f)
			}
		}
	}
	d.wantStored(1, 1)
}

func TestReplay_IsOfTheExecutionNotOfTodaysRow(t *testing.T) {
	t.Parallel()
	s := serve(t, pgtest.URL(t))
	first := s.send(create("k", "Apollo"))
	wantStatus(t, s.send(rename("u", first.project().ID, "Gemini")), "EXECUTED")
	a := s.send(create("k", "Apollo"))
	wantStatus(t, a, "REPLAYED")
	if a.project().Name != "Apollo" {
		t.Errorf("the replay has the name %q, want the one at the execution", a.project().Name)
	}
}

func TestReuse_OfAKeyChangesNothing(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url), connect(t, url)
	bare := s.send(create("bare", "Apollo")).project()
	null := map[string]any{"name": "Apollo", "description": nil}
	wantStatus(t, s.send(createWith("null", null)), "EXECUTED")

	for name, again := range map[string]request{
		"another name":           create("bare", "Gemini"),
		"another case":           create("bare", "apollo"),
		"white space":            create("bare", " Apollo"),
		"null instead of absent": createWith("bare", null),
		"absent instead of null": create("null", "Apollo"),
		"empty instead of null":  createWith("null", map[string]any{"name": "Apollo", "description": ""}),
		"another mutation": {
			Query:     `mutation ($id: ID!) { archiveProject(input: {id: $id}, idempotencyKey: "bare") { project { id } } }`,
			Variables: map[string]any{"id": bare.ID},
		},
		"a name that would be refused": create("bare", ""),
	} {
		a := s.send(again)
		if a.code() != "IDEMPOTENCY_KEY_REUSED" || a.failure().Retryable || len(a.Extensions.Idempotency) > 0 ||
			a.header.Get("Idempotency-Replayed") != "" {
			t.Errorf("%s: %s", name, a.raw)
		}
	}
	d.wantStored(2, 2)
	if n := d.count(`select count(*) from projects where name <> 'Apollo' or archived_at is not null`); n != 0 {
		t.Errorf("%d projects were changed", n)
	}
	wantStatus(t, s.send(create("bare", "Apollo")), "REPLAYED")
}
