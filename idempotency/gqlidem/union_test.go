package gqlidem_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql"
	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/idempotency/gqlidem"
	"github.com/onceql/onceql/internal/pgtest"
)

// store sends doIt with the key: the effect returns value, and the response and
// what the resolver got are returned.
func store[T any](t testing.TB, pool *pgxpool.Pool, key string, value T, options ...gqlidem.Option) (response, T, error) {
	t.Helper()
	var got T
	var cause error
	once := newOnce(t, pool, options...)
	r := send(t, serve(`directive @idempotent on FIELD_DEFINITION type Query { ok: Boolean } `+unionSDL, once, resolvers{
		"doIt": func(ctx context.Context) (any, error) {
			got, cause = gqlidem.Do(ctx, once, func(context.Context, pgx.Tx) (T, error) { return value, nil })
			return "a payload", cause
		},
	}), `mutation { doIt(idempotencyKey: "`+key+`") { __typename } }`)
	return r, got, cause
}

var orders = gqlidem.Union(placed{}, &declined{})

// wantStored stores the value in the form, and reads it back as it was.
func wantStored[T any](t *testing.T, form string, value T) {
	t.Helper()
	pool := pgtest.Pool(t)
	for _, status := range []string{"EXECUTED", "REPLAYED"} {
		r, got, err := store(t, pool, "k", value, orders)
		if r.statuses()["doIt"] != status {
			t.Fatalf("%s: %v: %s", status, err, r.body)
		}
		if diff := cmp.Diff(value, got); diff != "" {
			t.Errorf("%s: payload (-want +got):\n%s", status, diff)
		}
	}
	var stored string
	if err := pool.QueryRow(t.Context(), `select response_json from idempotency_keys`).Scan(&stored); err != nil || stored != form {
		t.Errorf("%s is stored, want %s; %v", stored, form, err)
	}
}

func TestUnion_StoresValuesWithTheNamesOfTheirTypes(t *testing.T) {
	t.Parallel()
	wantStored(t, `{"result":{"placed":{"id":"1"}}}`, &payload{Result: placed{ID: "1"}})
	wantStored(t, `{"result":{"*placed":{"id":"\u003c1\u003e"}}}`, payload{Result: &placed{ID: "<1>"}})
	wantStored(t, `{"result":null}`, &payload{})
	wantStored(t, `null`, (*payload)(nil))
	wantStored(t, `{"result":{"*declined":null}}`, &payload{Result: (*declined)(nil)})
	wantStored(t, `{"result":{"*declined":{"Reason":"expired"}},"results":[{"placed":{"id":"2"}},null,{"*declined":{"Reason":""}}]}`,
		&payload{Result: &declined{"expired"}, Results: []result{placed{ID: "2"}, nil, &declined{}}})
	wantStored[result](t, `{"placed":{"id":"3"}}`, placed{ID: "3"})
	wantStored[result](t, `null`, nil)
	wantStored(t, `[{"*placed":{"id":"4"}}]`, []result{&placed{ID: "4"}})
	wantStored(t, `{"a":{"Loose":{"placed":{"id":"5"}}}}`, map[string]anything{"a": {placed{ID: "5"}}})
}

// Beside unions, values are stored as encoding/json stores them, exact numbers too.
func TestUnion_LeavesTheRestToJSON(t *testing.T) {
	t.Parallel()
	type extra = map[string]any
	wantStored(t, `{"result":{"placed":{"id":"1","extra":{"a":9007199254740993,"b":[1.50,"x",null,true,{}],"c":-1e400}}}}`,
		&payload{Result: placed{"1", extra{"a": json.Number("9007199254740993"), "b": []any{json.Number("1.50"), "x", nil, true, extra{}}, "c": json.Number("-1e400")}}})
	type mixed struct {
		Number json.Number
		Bytes  []byte
		List   []string
		Map    map[string]int
		Text   string `json:",omitempty"`
		Raw    json.RawMessage
		Result result
	}
	value := mixed{Number: "12345678901234567890", Bytes: []byte("a"), Map: map[string]int{"b": 2, "a": 1}, Raw: json.RawMessage(`{"n":1.0}`)}
	form, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	wantStored(t, string(form), value)
}

func TestUnion_RefusesAValueThatItDoesNotName(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	r, _, err := store(t, pool, "k", &payload{Result: &declined{}}, gqlidem.Union(placed{}, gqlidem.As("declined", sold{})))
	if len(r.Errors) != 1 || r.Errors[0].Extensions["code"] != gqlidem.CodeInternal || !errors.Is(err, idempotency.ErrPayload) ||
		!strings.Contains(errors.Unwrap(err).Error(), "gqlidem.Union does not name gqlidem_test.declined, which stands for gqlidem_test.result") {
		t.Errorf("error %v: %s", errors.Unwrap(err), r.body)
	}
	var keys int
	if err := pool.QueryRow(t.Context(), `select count(*) from idempotency_keys`).Scan(&keys); err != nil || keys != 0 {
		t.Errorf("%d keys, %v", keys, err)
	}
}

// A type that is renamed keeps the name that it is stored under.
func TestUnion_ReadsATypeThatWasRenamed(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	if r, _, err := store(t, pool, "k", &payload{Result: placed{ID: "1"}}, orders); r.statuses()["doIt"] != "EXECUTED" {
		t.Fatal(err, r.body)
	}
	want := &payload{Result: sold{ID: "1"}}
	r, got, err := store(t, pool, "k", want, gqlidem.Union(gqlidem.As("placed", sold{}), declined{}))
	if diff := cmp.Diff(want, got); diff != "" || r.statuses()["doIt"] != "REPLAYED" {
		t.Errorf("%v: %s\npayload (-want +got):\n%s", err, r.body, diff)
	}
}

// sold is the name that placed has in another build.
type sold placed

func (sold) IsResult() {}

// What this build does not know for sure is not guessed at.
func TestUnion_WhatCantBeReadIsUnavailable(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	if r, _, err := store(t, pool, "k", &payload{Result: placed{ID: "1"}}, orders); r.statuses()["doIt"] != "EXECUTED" {
		t.Fatal(err, r.body)
	}
	for _, stored := range []string{
		`{"result":{"refunded":{"id":"1"}}}`,
		`{"result":{"declined":{"Reason":"no result unless it is a pointer"}}}`,
		`{"result":{"**placed":{"id":"1"}}}`,
		`{"result":{"placed":{}}}`,
		`{"result":{"placed":null}}`,
		`{"result":{"placed":{"id":1}}}`,
		`{"result":{"placed":{"id":"1"},"*declined":{"Reason":""}}}`,
		`{"result":{}}`,
		`{"result":[]}`,
		`{"result":"placed"}`,
		`{"result":{"id":"1"}}`,
		`{}`,
		`"placed"`,
	} {
		if _, err := pool.Exec(t.Context(), `update idempotency_keys set response_json = $1`, stored); err != nil {
			t.Fatal(err)
		}
		r, got, _ := store(t, pool, "k", &payload{Result: placed{ID: "again"}}, orders)
		if len(r.Errors) != 1 || r.Errors[0].Extensions["code"] != gqlidem.CodeUnavailable {
			t.Errorf("%s was read as %+v: %s", stored, got, r.body)
		}
	}
}

// gqlgen's scalars write numbers as they were stored.
func TestUnion_ExactNumbersReachTheClient(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	type scalars struct {
		Map map[string]any
		Any any
	}
	for range 2 {
		_, got, err := store(t, pool, "k", &scalars{map[string]any{"id": uint64(18446744073709551615)}, int64(9007199254740993)})
		if err != nil {
			t.Fatal(err)
		}
		var sent strings.Builder
		graphql.MarshalMap(got.Map).MarshalGQL(&sent)
		graphql.MarshalAny(got.Any).MarshalGQL(&sent)
		if want := "{\"id\":18446744073709551615}\n9007199254740993\n"; sent.String() != want {
			t.Errorf("%s is sent, want %s", sent.String(), want)
		}
	}
}
