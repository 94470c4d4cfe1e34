package e2e_test

import (
	"testing"

	"github.com/onceql/onceql/internal/pgtest"
)

// Rows as other builds may have written them: what is in the row of the key "new"
// is changed by the update, under the key "old".
func TestRowOfAnotherBuild_NeverExecutesAgain(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url), connect(t, url)
	wantStatus(t, s.send(create("new", "Apollo")), "EXECUTED")
	for name, c := range map[string]struct{ update, code string }{
		"an additional member": {
			`response_json = (response_json::jsonb || '{"quota": 3}' || jsonb_build_object('project',
				response_json::jsonb -> 'project' || '{"colour": "red", "labels": ["a"]}'))::json`, "",
		},
		"a nullable member is missing": {`response_json = (response_json::jsonb #- '{project,description}')::json`, ""},
		"a member is missing":          {`response_json = (response_json::jsonb #- '{project,updatedAt}')::json`, "UNAVAILABLE"},
		"the project is missing":       {`response_json = '{}'`, "UNAVAILABLE"},
		"a member of another type":     {`response_json = '{"project": 7}'`, "UNAVAILABLE"},
		"no object":                    {`response_json = '[]'`, "UNAVAILABLE"},
		"null, as the payload may be":  {`response_json = 'null'`, ""},
		"an unknown hash version":      {`hash_version = 2`, "UNAVAILABLE"},
		"no request's id":              {`request_id = null`, ""},
		"no trace":                     {`trace_id = null`, ""},
		"a trace without its span":     {`trace_id = '4bf92f3577b34da6a3ce929d0e0e4736'`, ""},
		"a longer name than today's":   {`response_json = replace(response_json::text, 'Apollo', repeat('A', 300))::json`, ""},
	} {
		d.exec(`delete from idempotency_keys where key = 'old'`)
		d.exec(`insert into idempotency_keys
			select scope, 'old', operation, request_hash, hash_version, response_json, request_id, execution_id, created_at, expires_at
			from idempotency_keys where key = 'new'`)
		d.exec(`update idempotency_keys set ` + c.update + ` where key = 'old'`)
		a := s.send(create("old", "Apollo"))
		switch {
		case c.code == "" && a.fieldStatus() != "REPLAYED", a.code() != c.code,
			c.code != "" && !a.failure().Retryable:
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
		d.wantStored(1, 2)
	}
}

func TestRuleTightenedLater_DoesNotBreakAReplay(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url), connect(t, url)
	// Today's rule refuses an empty name. The call is stored as one that executed
	// when there was no such rule.
	wantCode(t, s.send(create("k", "")), "BAD_USER_INPUT")
	wantStatus(t, s.send(create("other", "Apollo")), "EXECUTED")
	d.exec(`insert into idempotency_keys
		select scope, 'k', operation, sha256('v1 createProject {"input":{"name":""}}'), hash_version, response_json,
			request_id, execution_id, created_at, expires_at
		from idempotency_keys where key = 'other'`)
	wantStatus(t, s.send(create("k", "")), "REPLAYED")
	d.wantStored(1, 2)
}
