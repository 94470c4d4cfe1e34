package graph_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/onceql/onceql/graph"
	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/internal/requestid"
)

const createNamed = `mutation($name: String!, $key: String!) { createProject(input: {name: $name}, idempotencyKey: $key) { project { id } } }`

// forged would be a line of the log of its own.
const forged = "secret\nlevel=ERROR msg=forged\r\n\x1b[31m\u2028"

// hidden checks that an answer is one error that says nothing but its code, and
// that the log has one line about it.
func hidden(t *testing.T, a *api, got answer, code, level string) string {
	t.Helper()
	if got.status != http.StatusOK || got.code(t) != code || strings.Contains(got.text, "secret") || strings.Contains(got.text, "SQL") {
		t.Errorf("%d %s, want %s and no more", got.status, got.text, code)
	}
	logged := a.log.all()
	if len(logged) != 1 {
		t.Fatalf("%d lines are logged, want 1:\n%s", len(logged), strings.Join(logged, "\n"))
	}
	for _, want := range []string{"level=" + level, "code=" + code, "requestId=" + got.Errors[0].Extensions["requestId"].(string)} {
		if !strings.Contains(logged[0], want) {
			t.Errorf("%s lacks %s", logged[0], want)
		}
	}
	return logged[0]
}

func TestHandler_HidesWhatPostgresSays(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	if _, err := a.pool.Exec(t.Context(), `alter table projects add constraint no_secrets check (name !~ 'secret')`); err != nil {
		t.Fatal(err)
	}
	got := a.post(t.Context(), t, createNamed, map[string]any{"name": "a secret", "key": "k"})
	line := hidden(t, a, got, "INTERNAL", "ERROR")
	if strings.Contains(line, "secret ") || strings.Contains(line, "a secret") || strings.Contains(line, "Failing row") {
		t.Errorf("the payload is in the log: %s", line)
	}
	if !strings.Contains(line, "23514") || !strings.Contains(line, "no_secrets") || !strings.Contains(line, "path=createProject") {
		t.Errorf("the log does not say what failed: %s", line)
	}
	a.stores(t, 0)
}

func TestHandler_HidesAndLogsWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	for name, document := range map[string]string{
		"mutation": `mutation { createProject(input: {name: "x"}, idempotencyKey: "k") { project { id } } }`,
		"query":    `{ project(id: "x") { id } }`,
		"nested":   `{ projects { nodes { id } } }`,
		"call":     `{ idempotentCall(key: "x") { key } }`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			failing := resolving(t.Context(), func() (string, error) { return "", fmt.Errorf("looking it up: %w", errors.New(forged)) })
			line := hidden(t, a, a.post(failing, t, document, nil), "INTERNAL", "ERROR")
			if !strings.Contains(line, `err="looking it up: secret\n`) || strings.ContainsAny(line, "\r\x1b\u2028") {
				t.Errorf("the log does not say, on one line, what failed: %q", line)
			}
		})
	}
}

func TestHandler_SurvivesPanics(t *testing.T) {
	t.Parallel()
	for name, document := range map[string]string{
		"mutation": `mutation { createProject(input: {name: "x"}, idempotencyKey: "k") { project { id } } }`,
		"query":    `{ project(id: "x") { id } }`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			panicking := resolving(t.Context(), func() (string, error) { panic(forged) })
			line := hidden(t, a, a.post(panicking, t, document, nil), "INTERNAL", "ERROR")
			if strings.Contains(line, "secret") || !strings.Contains(line, "panicked with a string") || !strings.Contains(line, "errors_test.go") {
				t.Errorf("the log must have the panic's type and its stack, and not its value: %s", line)
			}
		})
	}
}

// However many fields panic, the log has one stack.
func TestHandler_LogsOneStackForARequest(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	panicking := resolving(t.Context(), func() (string, error) { panic("secret") })
	var document strings.Builder
	for i := range 20 {
		fmt.Fprintf(&document, `p%d: project(id: "x") { id } `, i)
	}
	got := a.post(panicking, t, "{"+document.String()+"}", nil)
	if len(got.Errors) != 20 {
		t.Errorf("%d errors: %s", len(got.Errors), got.text)
	}
	logged := a.log.all()
	if len(logged) != 2 || !strings.Contains(logged[0], "stack=") || strings.Contains(logged[1], "stack=") ||
		!strings.Contains(logged[1], "fields=19") || !strings.Contains(logged[1], "requestId="+got.header.Get(requestid.Header)) {
		t.Errorf("logged: %q", logged)
	}
}

// What a document asks for decides how many errors it has and what they quote, and not how
// large the answer is.
func TestHandler_BoundsTheAnswerToARefusedDocument(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	repeat := func(n int, format string) string {
		var text strings.Builder
		for i := range n {
			fmt.Fprintf(&text, format, i, (i+1)%n)
		}
		return text.String()
	}
	long := strings.Repeat("é", 200_000)
	for name, document := range map[string]string{
		"unknown fields":     "{ " + repeat(900, "u%d_%d ") + "}",
		"undefined names":    "query " + strings.Repeat("n", 255) + " { projects { nodes { " + repeat(80, "a%d_%d: id @skip(if: $a) ") + "} } }",
		"unused variables":   "query " + strings.Repeat("n", 255) + "(" + repeat(190, "$a%d_%d: Int ") + ") { __typename }",
		"text for a number":  `{ projects(first: "` + long + `") { nodes { id } } }`,
		"texts for a number": "{ projects(first: [" + repeat(900, `"`+long[:500]+`%d %d" `) + "]) { nodes { id } } }",
		"a ring":             "{ ...F0 } " + repeat(120, "fragment F%d on Query { ...F%d } "),
	} {
		got := a.post(t.Context(), t, document, nil)
		if len(got.Errors) == 0 || len(got.Errors) > 21 || len(got.text) > 32<<10 {
			t.Errorf("%s: %d errors in %d bytes: %.500s", name, len(got.Errors), len(got.text), got.text)
		}
		for _, failure := range got.Errors {
			if len(failure.Message) > 503 || strings.ContainsRune(failure.Message, '\ufffd') || len(failure.Locations) > 10 {
				t.Errorf("%s: %d locations, and a message of %d bytes: %.600s", name, len(failure.Locations), len(failure.Message), failure.Message)
			}
		}
		refused(t, got, got.codes()[0])
	}
	got := a.post(t.Context(), t, "{ "+repeat(30, "u%d_%d ")+"}", nil)
	if n := len(got.Errors); n != 21 || got.Errors[20].Message != "10 more errors are not listed" || got.codes()[20] != "GRAPHQL_VALIDATION_FAILED" {
		t.Errorf("%d errors: %s", n, got.text)
	}
	got = a.post(t.Context(), t, "{ "+repeat(20, "u%d_%d ")+"}", nil)
	if len(got.Errors) != 20 || strings.Contains(got.text, "more errors") {
		t.Errorf("%s", got.text)
	}
	// Variables are not the document's.
	got = a.post(t.Context(), t, `mutation($i: CreateProjectInput!) { createProject(input: $i, idempotencyKey: "k") { __typename } }`,
		map[string]any{"i": map[string]any{"name": "x", long: 1}})
	refused(t, got, "BAD_USER_INPUT")
	if len(got.text) > 1000 {
		t.Errorf("%d bytes", len(got.text))
	}
}

func TestHandler_KeepsTheOthersWhenAFieldFails(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	got := a.post(t.Context(), t, `mutation {
		a: createProject(input: {name: "A"}, idempotencyKey: "a") { project { name } }
		b: createProject(input: {name: ""}, idempotencyKey: "b") { project { name } }
		c: createProject(input: {name: "C"}, idempotencyKey: "c") { project { name } }
	}`, nil)
	const want = `{"a":{"project":{"name":"A"}},"b":null,"c":{"project":{"name":"C"}}}`
	if got.status != http.StatusOK || string(got.Data) != want || got.code(t) != "BAD_USER_INPUT" {
		t.Fatalf("%d %s", got.status, got.text)
	}
	if diff := cmp.Diff([]any{"b"}, got.Errors[0].Path); diff != "" || len(got.Errors[0].Locations) != 1 || got.Errors[0].Locations[0].Line != 3 {
		t.Errorf("%s, path (-want +got):\n%s", got.text, diff)
	}
	a.stores(t, 2)
}

// The path of an error is one into the response, where arguments are not.
func TestHandler_TellsTheFieldWhoseArgumentIsRefused(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	got := a.post(t.Context(), t, `query($f: Int!) { p: projects(first: $f) { nodes { id } } }`, map[string]any{"f": 1 << 31})
	if got.status != http.StatusOK || string(got.Data) != "null" || got.code(t) != "BAD_USER_INPUT" {
		t.Fatalf("%d %s", got.status, got.text)
	}
	if diff := cmp.Diff([]any{"p"}, got.Errors[0].Path); diff != "" {
		t.Errorf("path (-want +got):\n%s", diff)
	}
	if message := got.Errors[0].Message; message != "first: 2147483648 overflows signed 32-bit integer" {
		t.Errorf("message is %q", message)
	}
}

func TestPresent_LeavesTheErrorItIsGivenAlone(t *testing.T) {
	t.Parallel()
	presenter := graph.Presenter{Log: slog.New(slog.DiscardHandler)}
	given := &gqlerror.Error{Message: "declined", Extensions: map[string]any{"code": "DECLINED"}}
	before := maps.Clone(given.Extensions)
	presented := presenter.Present(t.Context(), given)
	if presented == given || presented.Message != "declined" {
		t.Errorf("presented as %+v", presented)
	}
	if diff := cmp.Diff(map[string]any{"code": "DECLINED", "retryable": false}, presented.Extensions); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, given.Extensions); diff != "" {
		t.Errorf("the given error is changed (-before +after):\n%s", diff)
	}
}

func TestPresent_TellsDefectsFromADatabaseThatIsGone(t *testing.T) {
	t.Parallel()
	presenter := graph.Presenter{Log: slog.New(slog.DiscardHandler)}
	for code, want := range map[string]string{
		"08006": "UNAVAILABLE", "53300": "UNAVAILABLE", "57014": "UNAVAILABLE", "57P01": "UNAVAILABLE", "58030": "UNAVAILABLE",
		"23505": "INTERNAL", "42P01": "INTERNAL", "22021": "INTERNAL", "": "INTERNAL", "X": "INTERNAL",
	} {
		err := fmt.Errorf("listing: %w", &pgconn.PgError{Code: code, Message: "secret", Detail: "secret"})
		presented := presenter.Present(t.Context(), err)
		if presented.Extensions["code"] != want || presented.Extensions["retryable"] != (want == "UNAVAILABLE") || strings.Contains(presented.Message, "secret") {
			t.Errorf("%q is presented as %+v, want %s", code, presented, want)
		}
	}
}

// Wherever an error is made, its code says whether and when to send again.
func TestRefuse_AnswersAsTheAPIDoes(t *testing.T) {
	t.Parallel()
	for code, status := range map[string]int{
		"UNAUTHENTICATED": http.StatusUnauthorized, "FORBIDDEN": http.StatusForbidden, "UNAVAILABLE": http.StatusServiceUnavailable,
	} {
		for accept, mediaType := range map[string]string{
			"":                                    "application/json; charset=utf-8",
			"application/graphql-response+json":   "application/graphql-response+json; charset=utf-8",
			"text/html":                           "application/json; charset=utf-8",
			"application/json, application/*;q=0": "application/json; charset=utf-8",
		} {
			w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/graphql", http.NoBody)
			r.Header.Set("Accept", accept)
			r.Header.Set(requestid.Header, "mine")
			requestid.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				graph.Refuse(w, r, status, code, "why")
			})).ServeHTTP(w, r)
			extensions := map[string]any{"code": code, "retryable": false, "requestId": "mine"}
			retryAfter := ""
			if code == "UNAVAILABLE" {
				extensions["retryable"], extensions["retryAfterMs"], retryAfter = true, float64(500), "1"
			}
			var got map[string]any
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatalf("%v: %s", err, w.Body)
			}
			want := map[string]any{"errors": []any{map[string]any{"message": "why", "extensions": extensions}}}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", code, diff)
			}
			header := w.Header()
			if w.Code != status || header.Get("Content-Type") != mediaType || header.Get("Retry-After") != retryAfter || header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s for %q: %d %v", code, accept, w.Code, header)
			}
		}
	}
}

func TestDescribe_QuotesNoPayload(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("inserting: %w", &pgconn.PgError{
		Code: "23505", Message: "secret", Detail: "Key (name)=(secret) already exists.", Hint: "secret", Where: "secret", InternalQuery: "secret",
		TableName: "projects", ConstraintName: "projects_pkey",
	})
	if got, want := graph.Describe(err), `SQLSTATE 23505, table "projects", constraint "projects_pkey"`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// What the engine found is not Postgres's word, and says where to look.
func TestDescribe_KeepsWhatTheEngineFound(t *testing.T) {
	t.Parallel()
	denied := &pgconn.PgError{Code: "42501", Message: "secret", TableName: "idempotency_keys"}
	const postgres = `SQLSTATE 42501, table "idempotency_keys", constraint ""`
	for _, test := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("%w: storing the secret: %w", idempotency.ErrTable, denied), "the table idempotency_keys can't be used: " + postgres},
		{fmt.Errorf("calling: %w", fmt.Errorf("%w: %w", idempotency.ErrUnavailable, denied)), "the outcome is not known for now: " + postgres},
		{errors.Join(idempotency.ErrTransaction, denied), idempotency.ErrTransaction.Error() + ": " + postgres},
		{fmt.Errorf("%w: %w", idempotency.ErrInProgress, denied), idempotency.ErrInProgress.Error() + ": " + postgres},
		{idempotency.ErrTable, idempotency.ErrTable.Error()},
	} {
		if got := graph.Describe(test.err); got != test.want {
			t.Errorf("%s, want %s", got, test.want)
		}
	}
}

// Panics outside of a field come with the request's context alone.
func TestRecover_TellsTheClientNothing(t *testing.T) {
	t.Parallel()
	var log lines
	presenter := graph.Presenter{Log: slog.New(slog.NewTextHandler(&log, nil))}
	presented := presenter.Present(t.Context(), presenter.Recover(t.Context(), forged))
	want := map[string]any{"code": "INTERNAL", "retryable": false}
	if diff := cmp.Diff(want, presented.Extensions); diff != "" || presented.Message != "internal error" || presented.Path != nil {
		t.Errorf("presented as %+v (-want +got):\n%s", presented, diff)
	}
	if logged := log.all(); len(logged) != 1 || strings.Contains(logged[0], "secret") || !strings.Contains(logged[0], "stack=") {
		t.Errorf("logged: %q", logged)
	}
}
