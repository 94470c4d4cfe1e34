package graph_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/onceql/onceql/idempotency/gqlidem"
)

// statuses returns the status of each keyed field of an answer.
func (a answer) statuses() map[string]string {
	fields, _ := a.Extensions["idempotency"].(map[string]any)
	statuses := map[string]string{}
	for name, field := range fields {
		statuses[name], _ = field.(map[string]any)["status"].(string)
	}
	return statuses
}

func TestHandler_CountsOnlyTheMutationsThatTookPart(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	const (
		replayed = "REPLAYED"
		executed = "EXECUTED"
		old      = `createProject(input: {name: "x"}, idempotencyKey: "old")`
	)
	if got := a.post(t.Context(), t, `mutation { `+old+` { project { id } } }`, nil); len(got.Errors) > 0 {
		t.Fatal(got.text)
	}
	type result struct {
		Statuses map[string]string
		Header   string
	}
	for name, test := range map[string]struct {
		selections string
		want       result
	}{
		"one replay":   {`a: ` + old + ` { project { id } }`, result{map[string]string{"a": replayed}, "true"}},
		"two at once":  {`a: ` + old + ` { project { id } } b: ` + old + ` { project { id } }`, result{map[string]string{"a": replayed, "b": replayed}, "true"}},
		"one in two":   {`a: ` + old + ` { project { id } } a: ` + old + ` { project { name } }`, result{map[string]string{"a": replayed}, "true"}},
		"skipped":      {old + ` @skip(if: $yes) { project { id } }`, result{map[string]string{}, ""}},
		"not included": {old + ` @include(if: $no) { project { id } }`, result{map[string]string{}, ""}},
		"a replay beside one that is skipped": {
			`a: ` + old + ` { project { id } } b: createProject(input: {name: "y"}, idempotencyKey: "skipped") @skip(if: $yes) { project { id } }`,
			result{map[string]string{"a": replayed}, "true"},
		},
		"a replay beside a fragment that is not included": {
			`a: ` + old + ` { project { id } } ... @include(if: $no) { b: createProject(input: {name: "y"}, idempotencyKey: "skipped") { project { id } } }`,
			result{map[string]string{"a": replayed}, "true"},
		},
		"a replay beside an execution": {
			`a: ` + old + ` { project { id } } b: createProject(input: {name: "y"}, idempotencyKey: "new") { project { id } }`,
			result{map[string]string{"a": replayed, "b": executed}, ""},
		},
		"a replay beside a failure": {
			`a: ` + old + ` { project { id } } b: createProject(input: {name: ""}, idempotencyKey: "failed") { project { id } }`,
			result{map[string]string{"a": replayed}, ""},
		},
		"a replay beside a key that is not valid": {
			`a: ` + old + ` { project { id } } b: createProject(input: {name: "y"}, idempotencyKey: "") { project { id } }`,
			result{map[string]string{"a": replayed}, ""},
		},
		"a replay beside __typename": {`__typename a: ` + old + ` { project { id } }`, result{map[string]string{"a": replayed}, "true"}},
		"nothing but __typename":     {`__typename`, result{map[string]string{}, ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := a.post(t.Context(), t,
				`mutation($yes: Boolean! = true, $no: Boolean! = false) { `+test.selections+` __typename @skip(if: $yes) @include(if: $no) }`, nil)
			if diff := cmp.Diff(test.want, result{got.statuses(), got.header.Get(gqlidem.HeaderReplayed)}); diff != "" {
				t.Errorf("%d %s (-want +got):\n%s", got.status, got.text, diff)
			}
		})
	}
	t.Cleanup(func() { a.stores(t, 2) })
}

func TestIdempotentCall_TellsWhatAKeyDid(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	made := a.post(t.Context(), t, createNamed, map[string]any{"name": "x", "key": "k e y"})
	status, _ := made.Extensions["idempotency"].(map[string]any)["createProject"].(map[string]any)
	got := a.post(t.Context(), t, `{ idempotentCall(key: "k e y") { key operation expired requestId executedAt expiresAt } }`, nil)
	var data struct{ IdempotentCall map[string]any }
	if err := json.Unmarshal(got.Data, &data); err != nil {
		t.Fatalf("%v: %s", err, got.text)
	}
	call := data.IdempotentCall
	for name, want := range map[string]any{
		"key": "k e y", "operation": "createProject", "expired": false, "requestId": status["requestId"],
	} {
		if call[name] != want {
			t.Errorf("%s is %v, want %v", name, call[name], want)
		}
	}
	// The same instants, of which a DateTime has the milliseconds.
	for _, name := range []string{"executedAt", "expiresAt"} {
		instant, _ := call[name].(string)
		if told, _ := status[name].(string); len(instant) < 20 || !strings.HasPrefix(told, strings.TrimSuffix(instant, "Z")) {
			t.Errorf("%s is %s here and %s in the answer to the call", name, instant, told)
		}
	}
}

func TestIdempotentCall_IsNullForWhatIsNotKnown(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	const query = `query($key: String!) { idempotentCall(key: $key) { key } }`
	for _, key := range []string{"unknown", "", " ", " k", "é", "a\x00b", "a\nb", strings.Repeat("x", 256), "' or true --"} {
		got := a.post(t.Context(), t, query, map[string]any{"key": key})
		if string(got.Data) != `{"idempotentCall":null}` || len(got.Errors) > 0 {
			t.Errorf("%q: %d %s", key, got.status, got.text)
		}
	}
	// In flight, too.
	blocker := lockProjects(t, a.pool)
	answered := make(chan answer)
	go func() { answered <- a.post(t.Context(), t, createNamed, map[string]any{"name": "x", "key": "k"}) }()
	waitForLock(t, blocker)
	if got := a.post(t.Context(), t, query, map[string]any{"key": "k"}); string(got.Data) != `{"idempotentCall":null}` {
		t.Errorf("in flight: %d %s", got.status, got.text)
	}
	if err := blocker.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-answered
	if got := a.post(t.Context(), t, query, map[string]any{"key": "k"}); string(got.Data) != `{"idempotentCall":{"key":"k"}}` {
		t.Errorf("afterwards: %d %s", got.status, got.text)
	}
}
