package gqlidem_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/db"
	"github.com/onceql/onceql/graph"
	"github.com/onceql/onceql/idempotency/gqlidem"
	"github.com/onceql/onceql/internal/pgtest"
	"github.com/onceql/onceql/internal/requestid"
)

type statuses = map[string]string

// onceql serves OnceQL's own schema.
func onceql(t testing.TB, pool *pgxpool.Pool) http.Handler {
	t.Helper()
	engine := newEngine(t, pool)
	tenant := func(context.Context) (string, error) { return "", nil }
	trace := func(ctx context.Context) (traceID, spanID string) {
		sum := sha256.Sum256([]byte(requestid.From(ctx)))
		return hex.EncodeToString(sum[:16]), hex.EncodeToString(sum[16:24])
	}
	once := gqlidem.New(engine, tenant, gqlidem.WithRequestID(requestid.From), gqlidem.WithTraceID(trace))
	return requestid.Handler(graph.NewHandler(
		graph.NewResolver(once, engine, db.NewQueries(pool, 5*time.Second, 4096), tenant), once,
		graph.Config{Log: slog.New(slog.DiscardHandler)},
	))
}

func TestStatus_OfAnExecutionAndItsReplays(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	server := onceql(t, pool)
	first := sendAs(t, server, "request-1", `mutation { createProject(input: {name: "Apollo"}, idempotencyKey: "k") { project { id } } }`)
	if diff := cmp.Diff(statuses{"createProject": "EXECUTED"}, first.statuses()); diff != "" || first.replayed() != "" {
		t.Fatalf("header %q, status (-want +got):\n%s\n%s", first.replayed(), diff, first.body)
	}
	status := first.Extensions.Idempotency["createProject"]
	if status.RequestID == nil || *status.RequestID != "request-1" || status.ExpiresAt.Sub(status.ExecutedAt) != 24*time.Hour {
		t.Errorf("status %+v", status)
	}
	second := sendAs(t, server, "request-2", `mutation M($input: CreateProjectInput!) {
		mine: createProject(idempotencyKey: "k", input: $input) { project { ...P } } } fragment P on Project { id name }`, `{"input": {"name": "Apollo"}}`)
	if diff := cmp.Diff(statuses{"mine": "REPLAYED"}, second.statuses()); diff != "" || second.replayed() != "true" {
		t.Errorf("header %q, status (-want +got):\n%s\n%s", second.replayed(), diff, second.body)
	}
	status.Status = "REPLAYED"
	if diff := cmp.Diff(status, second.Extensions.Idempotency["mine"]); diff != "" {
		t.Errorf("the replay's status differs (-execution +replay):\n%s", diff)
	}
	var mine bool
	if err := pool.QueryRow(t.Context(), `select trace_id like left(encode(sha256('request-1'), 'hex'), 32) || '-%' from idempotency_keys`).Scan(&mine); err != nil || !mine {
		t.Errorf("the row has the trace that executed: %t, %v", mine, err)
	}
}

func TestStatus_OfEachFieldOfADocument(t *testing.T) {
	t.Parallel()
	server := onceql(t, pgtest.Pool(t))
	const a, b, bad = `createProject(input: {name: "a"}, idempotencyKey: "a") { project { id } }`,
		`createProject(input: {name: "b"}, idempotencyKey: "b") { project { id } }`,
		`createProject(input: {name: ""}, idempotencyKey: "c") { project { id } }`
	for _, step := range []struct {
		document string
		want     statuses
		header   string
		errors   int
	}{
		{`mutation { a1: ` + a + ` a2: ` + a + ` }`, statuses{"a1": "EXECUTED", "a2": "REPLAYED"}, "", 0},
		{`mutation { a1: ` + a + ` a2: ` + a + ` }`, statuses{"a1": "REPLAYED", "a2": "REPLAYED"}, "true", 0},
		{`mutation { ` + a + ` ` + a + ` }`, statuses{"createProject": "REPLAYED"}, "true", 0},
		{`mutation { a: ` + a + ` bad: ` + bad + ` }`, statuses{"a": "REPLAYED"}, "", 1},
		{`mutation { bad: ` + bad + ` }`, nil, "", 1},
		{`mutation { a: ` + a + ` b: ` + b + ` }`, statuses{"a": "REPLAYED", "b": "EXECUTED"}, "", 0},
		{`mutation { a: ` + a + ` b: ` + b + ` __typename }`, statuses{"a": "REPLAYED", "b": "REPLAYED"}, "true", 0},
		{`mutation { a: ` + a + ` b: ` + b + ` ... @skip(if: true) { bad: ` + bad + ` } }`, statuses{"a": "REPLAYED", "b": "REPLAYED"}, "true", 0},
		{`{ projects { nodes { name } } idempotentCall(key: "a") { operation } }`, nil, "", 0},
		{`mutation { nothing }`, nil, "", 1},
	} {
		r := send(t, server, step.document)
		if diff := cmp.Diff(step.want, r.statuses()); diff != "" || r.replayed() != step.header || len(r.Errors) != step.errors {
			t.Errorf("%s: header %q, want %q; status (-want +got):\n%s\n%s", step.document, r.replayed(), step.header, diff, r.body)
		}
	}
}

// A field whose arguments can't be read comes to no resolver, and yet it is keyed.
func TestStatus_HeaderMissesWhenAFieldsArgumentsAreRefused(t *testing.T) {
	t.Parallel()
	once := newOnce(t, pgtest.Pool(t))
	server := serve(noteSDL, once, writing(once, func(context.Context, pgx.Tx) (*note, error) { return &note{"a"}, nil }))
	const good = `mutation { a: write(text: "a", idempotencyKey: "k") { text } }`
	send(t, server, good)
	if r := send(t, server, good); r.replayed() != "true" {
		t.Fatalf("no replay: %s", r.body)
	}
	r := send(t, server, `mutation { a: write(text: "a", idempotencyKey: "k") { text } odd: write(even: 1, idempotencyKey: "l") { text } }`)
	if diff := cmp.Diff(statuses{"a": "REPLAYED"}, r.statuses()); diff != "" || r.replayed() != "" || len(r.Errors) != 1 {
		t.Errorf("header %q, status (-want +got):\n%s\n%s", r.replayed(), diff, r.body)
	}
}

// What fails below a field may leave nothing of its payload.
func TestStatus_HeaderMissesWhenAFieldIsNullWithAnError(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	server := onceql(t, pool)
	const whole, empty = `whole: createProject(input: {name: "a"}, idempotencyKey: "a") { project { id } }`,
		`empty: createProject(input: {name: "b"}, idempotencyKey: "b") { project { id } }`
	if r := send(t, server, `mutation { `+whole+` `+empty+` }`); len(r.Errors) != 0 {
		t.Fatal(r.body)
	}
	if _, err := pool.Exec(t.Context(), `update idempotency_keys set response_json = '{"project":null}' where key = 'b'`); err != nil {
		t.Fatal(err)
	}
	for document, header := range map[string]string{
		`mutation { ` + empty + ` }`:               "",
		`mutation { ` + whole + ` ` + empty + ` }`: "",
		`mutation { ` + whole + ` }`:               "true",
		`mutation { ` + whole + ` ` + strings.Replace(empty, "project { id }", "__typename", 1) + ` }`: "true",
	} {
		r := send(t, server, document)
		replayed := r.replayed()
		if wantErrors := map[bool]int{true: 0, false: 1}[header == "true"]; replayed != header || len(r.Errors) != wantErrors {
			t.Errorf("%s: header %q, want %q: %s", document, replayed, header, r.body)
		}
		for name, status := range r.statuses() {
			if status != "REPLAYED" {
				t.Errorf("%s: %s is %s", document, name, status)
			}
		}
	}
}

func TestStatus_WithoutRequestIDsIsNull(t *testing.T) {
	t.Parallel()
	once := newOnce(t, pgtest.Pool(t))
	server := serve(noteSDL, once, writing(once, func(context.Context, pgx.Tx) (*note, error) { return &note{"a"}, nil }))
	r := send(t, server, `mutation { write(text: "a", idempotencyKey: "k") { text } }`)
	if status := r.Extensions.Idempotency["write"]; status.Status != "EXECUTED" || status.RequestID != nil {
		t.Errorf("status %+v", status)
	}
}

func TestDo_RefusesThroughTheServer(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	server := onceql(t, pool)
	create := func(key, name string) response {
		return send(t, server, `mutation($key: String!, $name: String!) { createProject(input: {name: $name}, idempotencyKey: $key) { project { id } } }`,
			`{"key": "`+key+`", "name": "`+name+`"}`)
	}
	create("k", "Apollo")
	create("old", "Apollo")
	if _, err := pool.Exec(t.Context(), `update idempotency_keys set expires_at = now() where key = 'old'`); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ key, name, code string }{
		{"", "Apollo", gqlidem.CodeKeyRequired},
		{" k", "Apollo", gqlidem.CodeKeyInvalid},
		{"k", "Artemis", gqlidem.CodeKeyReused},
		{"old", "Apollo", gqlidem.CodeKeyExpired},
		{"old", "Artemis", gqlidem.CodeKeyReused},
	} {
		r := create(test.key, test.name)
		if len(r.Errors) != 1 || r.Errors[0].Extensions["code"] != test.code || r.statuses() != nil {
			t.Errorf("key %q, name %q: %s, want %s", test.key, test.name, r.body, test.code)
		}
	}
	r := send(t, server, `mutation { archiveProject(input: {id: "0190b6d2-7c1e-7000-8000-000000000000"}, idempotencyKey: "k") { project { id } } }`)
	if len(r.Errors) != 1 || r.Errors[0].Extensions["code"] != gqlidem.CodeKeyReused {
		t.Errorf("the key of another mutation: %s", r.body)
	}
}

func TestDo_ArgumentsWithoutACanonicalFormAreBadInput(t *testing.T) {
	t.Parallel()
	const sdl = `directive @idempotent on FIELD_DEFINITION
		enum Color { RED }
		type Query { ok: Boolean }
		type Mutation { paint(color: Color, idempotencyKey: String!): Boolean @idempotent }`
	once := newOnce(t, pgtest.Pool(t))
	var got error
	server := serve(sdl, once, resolvers{"paint": func(ctx context.Context) (payload any, err error) {
		payload, got = gqlidem.Do(ctx, once, func(context.Context, pgx.Tx) (*bool, error) { panic("the effect ran") })
		return payload, got
	}})
	r := send(t, server, `mutation($c: Color) { paint(color: $c, idempotencyKey: "k") }`, `{"c": "red"}`)
	if len(r.Errors) != 1 || r.Errors[0].Extensions["code"] != gqlidem.CodeBadUserInput || !errors.Is(got, gqlidem.ErrNotCanonical) {
		t.Errorf("%v: %s", got, r.body)
	}
}
