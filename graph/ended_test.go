package graph_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/graph"
	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/idempotency/gqlidem"
	"github.com/onceql/onceql/internal/pgtest"
	"github.com/onceql/onceql/internal/quota"
	"github.com/onceql/onceql/internal/requestid"
	"github.com/onceql/onceql/internal/telemetry"
)

// ends are the calls of which an api told.
type ends struct {
	mu    sync.Mutex
	calls []telemetry.Call
}

func (e *ends) tell(_ context.Context, call telemetry.Call) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls = append(e.calls, call)
}

// take returns the calls since it was last called, without what differs from run to run.
func (e *ends) take(t *testing.T) []telemetry.Call {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	taken := e.calls
	e.calls = nil
	for i := range taken {
		// Nobody waits for the refusal of what the token does not allow.
		if taken[i].Duration <= 0 && taken[i].Outcome != telemetry.CallRefused {
			t.Errorf("it took %v: %+v", taken[i].Duration, taken[i])
		}
		taken[i].Duration = 0
	}
	return taken
}

type (
	forbiddenKey struct{}
	// senderKey is where the tenant is found before the resolvers look for it.
	senderKey struct{}
)

// newToldAPI returns an api on a server of its own and what it tells. Its tenant full has
// as many keys as it may.
func newToldAPI(t *testing.T) (*api, *pgtest.Server, *ends) {
	t.Helper()
	server := pgtest.NewServer(t)
	pool, err := pgxpool.New(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	told := &ends{}
	a := makeAPIOn(t, pool, idempotency.Config{Wait: time.Second}, graph.Config{
		Ended: told.tell,
		Tenant: func(ctx context.Context) (string, error) {
			tenant, _ := ctx.Value(senderKey{}).(string)
			return tenant, nil
		},
		May: func(ctx context.Context, _ string) bool { return ctx.Value(forbiddenKey{}) == nil },
	}, func(r *graph.Resolver) { r.SetQuota(quota.Usage{Keys: 3}, nil) })
	return a, server, told
}

func TestResolver_TellsOfEachKeyedCallThatEnds(t *testing.T) {
	t.Parallel()
	a, server, told := newToldAPI(t)
	ctx := as(t.Context(), "acme")
	first := a.post(ctx, t, createNamed, map[string]any{"name": "x", "key": "k"}).header.Get(requestid.Header)
	a.post(ctx, t, createNamed, map[string]any{"name": "x", "key": "k"})
	a.post(ctx, t, createNamed, map[string]any{"name": "y", "key": "k"})
	call := func(key string, outcome telemetry.Outcome, by string) telemetry.Call {
		return telemetry.Call{Tenant: "acme", Key: key, Operation: "createProject", Outcome: outcome, ExecutedBy: by}
	}
	want := []telemetry.Call{call("k", telemetry.CallExecuted, first), call("k", telemetry.CallReplayed, first), call("k", telemetry.CallReused, "")}
	if diff := cmp.Diff(want, told.take(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := a.pool.Exec(t.Context(), `update idempotency_keys set expires_at = now() - interval '1 minute'`); err != nil {
		t.Fatal(err)
	}
	a.post(ctx, t, createNamed, map[string]any{"name": "x", "key": "k"})
	if diff := cmp.Diff([]telemetry.Call{call("k", telemetry.CallExpired, "")}, told.take(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	blocker := lockProjects(t, a.pool)
	answered := make(chan struct{})
	leaving, leave := context.WithCancel(ctx)
	go func() {
		defer close(answered)
		a.post(leaving, t, createNamed, map[string]any{"name": "x", "key": "left"})
	}()
	waitForLock(t, blocker)
	leave()
	<-answered
	if diff := cmp.Diff([]telemetry.Call{call("left", telemetry.CallCancelled, "")}, told.take(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// What the server itself gives up, for its time, nobody cancelled.
	brief, end := context.WithTimeout(ctx, 50*time.Millisecond)
	a.post(brief, t, createNamed, map[string]any{"name": "x", "key": "left"})
	end()
	if diff := cmp.Diff([]telemetry.Call{call("left", telemetry.CallInProgress, "")}, told.take(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	a.post(ctx, t, createNamed, map[string]any{"name": "x", "key": "left"}) // It executes still.
	if diff := cmp.Diff([]telemetry.Call{call("left", telemetry.CallInProgress, "")}, told.take(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := blocker.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}

	if _, err := a.pool.Exec(t.Context(), `alter table projects rename column name to nom`); err != nil {
		t.Fatal(err)
	}
	a.post(ctx, t, createNamed, map[string]any{"name": "x", "key": "defect"})
	asked := 0
	a.post(resolving(t.Context(), func() (string, error) {
		if asked++; asked > 1 { // By gqlidem, outside of the engine.
			panic("secret")
		}
		return "acme", nil
	}), t, createNamed, map[string]any{"name": "x", "key": "panic"})
	server.Stop(t)
	a.post(ctx, t, createNamed, map[string]any{"name": "x", "key": "away"})
	want = []telemetry.Call{
		call("defect", telemetry.CallInternal, ""),
		call("panic", telemetry.CallInternal, ""),
		call("away", telemetry.CallUnavailable, ""),
	}
	if diff := cmp.Diff(want, told.take(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestResolver_TellsOfKeyedCallsThatAreRefused(t *testing.T) {
	t.Parallel()
	a, _, told := newToldAPI(t)
	unknown := `updateProject(input: {id: "00000000-0000-7000-8000-000000000000", name: "y"}, idempotencyKey: "k") { project { id } }`
	full := as(t.Context(), "full")
	for _, key := range []string{"1", "2", "3"} {
		a.post(full, t, createNamed, map[string]any{"name": "x", "key": key})
	}
	made := a.post(as(t.Context(), "acme"), t, `mutation { createProject(input: {name: "x"}, idempotencyKey: "made") { project { id } } }`, nil)
	var data struct {
		CreateProject struct{ Project struct{ ID string } }
	}
	if err := json.Unmarshal(made.Data, &data); err != nil {
		t.Fatalf("%v: %s", err, made.text)
	}
	id := data.CreateProject.Project.ID
	told.take(t)
	nobody := resolving(t.Context(), func() (string, error) {
		return "", gqlidem.NewError(graph.CodeUnauthenticated, "who are you?")
	})
	for code, test := range map[string]struct {
		ctx      context.Context //nolint:containedctx // It is what varies.
		document string
		want     telemetry.Call
	}{
		"IDEMPOTENCY_KEY_REQUIRED": {nil, `createProject(input: {name: "x"}, idempotencyKey: "") { project { id } }`, telemetry.Call{Operation: "createProject"}},
		"IDEMPOTENCY_KEY_INVALID":  {nil, `createProject(input: {name: "x"}, idempotencyKey: " k") { project { id } }`, telemetry.Call{Key: " k", Operation: "createProject"}},
		"BAD_USER_INPUT":           {nil, `createProject(input: {name: ""}, idempotencyKey: "k") { project { id } }`, telemetry.Call{Key: "k", Operation: "createProject"}},
		"NOT_FOUND":                {nil, unknown, telemetry.Call{Key: "k", Operation: "updateProject"}},
		"CONFLICT":                 {nil, `updateProject(input: {id: "` + id + `", ifVersion: 7}, idempotencyKey: "k") { project { id } }`, telemetry.Call{Key: "k", Operation: "updateProject"}},
		"FORBIDDEN": {
			context.WithValue(context.WithValue(t.Context(), senderKey{}, "acme"), forbiddenKey{}, true),
			`archiveProject(input: {id: "` + id + `"}, idempotencyKey: "k") { project { id } }`,
			telemetry.Call{Key: "k", Operation: "archiveProject"},
		},
		"LIMIT_EXCEEDED":  {full, `createProject(input: {name: "x"}, idempotencyKey: "4") { project { id } }`, telemetry.Call{Tenant: "full", Key: "4", Operation: "createProject"}},
		"UNAUTHENTICATED": {nobody, `unarchiveProject(input: {id: "x"}, idempotencyKey: "k") { project { id } }`, telemetry.Call{Key: "k", Operation: "unarchiveProject"}},
	} {
		ctx := test.ctx
		test.want.Outcome = telemetry.CallRefused
		if ctx == nil {
			ctx = as(t.Context(), "acme")
		}
		if ctx != nobody && ctx != full {
			test.want.Tenant = "acme"
		}
		got := a.post(ctx, t, "mutation { "+test.document+" }", nil)
		if got.code(t) != code {
			t.Errorf("%s: %s", code, got.text)
		}
		if diff := cmp.Diff([]telemetry.Call{test.want}, told.take(t)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", code, diff)
		}
	}
	// An error without a code is a defect, and one of a database that is away is not.
	for err, want := range map[error]telemetry.Outcome{
		errors.New("secret"):     telemetry.CallInternal,
		context.DeadlineExceeded: telemetry.CallUnavailable,
	} {
		a.post(resolving(t.Context(), func() (string, error) { return "", err }), t, createNamed, map[string]any{"name": "x", "key": "k"})
		if got := told.take(t); len(got) != 1 || got[0].Outcome != want {
			t.Errorf("%v: %+v", err, got)
		}
	}
}

func TestResolver_TellsOfNothingElse(t *testing.T) {
	t.Parallel()
	a, _, told := newToldAPI(t)
	for _, document := range []string{
		`{ projects { nodes { id } } idempotentCall(key: "k") { key } }`,
		`mutation { __typename createProject(input: {name: "x"}, idempotencyKey: "k") @skip(if: true) { project { id } } }`,
		`mutation { createProject(input: {nom: "x"}, idempotencyKey: "k") { project { id } } }`,
		`mutation { createProject(input: {name: "x"}) { project { id } } }`,
		`mutation {`,
	} {
		a.post(as(t.Context(), "acme"), t, document, nil)
	}
	a.post(context.WithValue(t.Context(), forbiddenKey{}, true), t, `{ __typename projects { nodes { id } } }`, nil)
	if got := told.take(t); len(got) > 0 {
		t.Errorf("told of %+v", got)
	}
}
