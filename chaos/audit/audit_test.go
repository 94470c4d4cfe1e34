package audit_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/chaos/audit"
	"github.com/onceql/onceql/chaos/history"
	"github.com/onceql/onceql/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// A fixture is an audited database, and what was called meanwhile.
type fixture struct {
	testing.TB
	conn    *pgx.Conn
	changed string
	calls   history.History
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), pgtest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	f := &fixture{TB: t, conn: conn, changed: uuid.NewString()}
	if err := audit.Install(t.Context(), conn, []string{f.changed}); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) exec(sql string, arguments ...any) {
	f.Helper()
	if _, err := f.conn.Exec(f.Context(), sql, arguments...); err != nil {
		f.Fatalf("%s: %v", sql, err)
	}
}

// effect creates a project, or changes the one that is there, and returns its id.
func (f *fixture) effect(name string) (id string) {
	f.Helper()
	id = uuid.NewString()
	if strings.HasSuffix(name, "change") {
		f.exec(`update projects set name = $1 where id = $2`, name, f.changed)
		return f.changed
	}
	f.exec(`insert into projects values ('', $1, $2, null, now(), now())`, id, name)
	return id
}

// row stores a row of the key whose payload is the project.
func (f *fixture) row(key, id, name string) {
	f.Helper()
	class := classOf(key)
	f.exec(`insert into idempotency_keys values ('', $1, 'createProject', sha256(''), 1,
		json_build_object('project', json_build_object('id', $2::text, 'name', $3::text)), '', gen_random_uuid(),
		now(), now() + $4::interval, now() + $5::interval)`, key, id, name, class.TTL, class.Retention)
}

// done has a call take effect as it should, and returns what its caller hears.
func (f *fixture) done(key, variant string) (payload string) {
	f.Helper()
	name := audit.Name(key, variant)
	id := f.effect(name)
	f.row(key, id, name)
	return audit.Payload(id, name)
}

func (f *fixture) heard(key, variant string, outcome history.Outcome, payload string) {
	f.calls.Add(history.Call{Key: key, Variant: variant, Outcome: outcome, Payload: payload})
}

// classOf is what the keys of the tests are promised.
func classOf(key string) audit.Class {
	class := audit.Class{TTL: time.Hour, Retention: 2 * time.Hour}
	class.Purged, class.Forgotten = strings.HasPrefix(key, "purged"), strings.HasPrefix(key, "forgotten")
	return class
}

func (f *fixture) compare() audit.Result {
	f.Helper()
	result, err := audit.Compare(f.Context(), f.conn, &f.calls, classOf, time.Minute)
	if err != nil {
		f.Fatal(err)
	}
	return result
}

// want compares the database with the callers' history. There has to be one violation, of
// the key, that says so; or none where says is empty.
func (f *fixture) want(key, says string) audit.Result {
	f.Helper()
	result := f.compare()
	switch violations := result.Violations; {
	case says == "" && len(violations) == 0:
	case says != "" && len(violations) == 1 && violations[0].Key == key && strings.Contains(violations[0].What, says):
	default:
		f.Errorf("found %q, want one of %s: %q", violations, key, says)
	}
	return result
}

func TestCompare_OfCallsThatKeptTheirPromises(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, variant := range []string{"create", "change"} {
		key := "key of a " + variant
		payload := f.done(key, variant)
		f.heard(key, variant, history.Unknown, "")
		f.heard(key, variant, history.Executed, payload)
		f.heard(key, variant, history.Replayed, payload)
		f.heard(key, "other", history.Reused, "")
	}
	f.done("unknown", "create")
	f.heard("unknown", "create", history.Unknown, "")
	f.heard("nothing", "create", history.Refused, "")
	f.want("", "")
	// The look at each row is part of the key's history.
	for key, variant := range map[string]string{"key of a create": "create", "key of a change": "change", "unknown": "create", "nothing": ""} {
		calls := f.calls.Of(key)
		if last := calls[len(calls)-1]; last.Outcome != history.Stored || last.Variant != variant || last.Called != time.Minute {
			t.Errorf("the last of %s is %s, want a look at %q", key, last, variant)
		}
	}
}

func TestCompare_OfRowsThatWereRemoved(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, key := range []string{"purged", "purged early", "forgotten", "kept"} {
		f.heard(key, "create", history.Executed, f.done(key, "create"))
	}
	remove := func(key string) { f.exec(`delete from idempotency_keys where key = $1`, key) }
	remove("forgotten")
	f.exec(`update idempotency_keys set expires_at = now() - interval '2 s', retained_until = now() - interval '1 s' where key = 'purged'`)
	remove("purged")
	if result := f.want("", ""); result.Purged != 1 || result.Forgotten != 1 {
		t.Errorf("%d rows were purged and %d forgotten, want 1 and 1", result.Purged, result.Forgotten)
	}
	for _, key := range []string{"forgotten", "purged early"} {
		calls := f.calls.Of(key)
		if looked := calls[len(calls)-1]; (looked.Outcome == history.Stored) != (key == "forgotten") || looked.Outcome == history.Stored && looked.Variant != "" {
			t.Errorf("the last of %s is %s", key, looked)
		}
	}
	// It is no longer replayed, and has to be refused for a while.
	f.exec(`update idempotency_keys set expires_at = now() - interval '2 s' where key = 'purged early'`)
	remove("purged early")
	f.want("purged early", "before its retention was over")
}

func TestCompare_TellsOfPromisesThatWereBroken(t *testing.T) {
	t.Parallel()
	const key = "key"
	for what, test := range map[string]struct {
		happens func(f *fixture)
		says    string
	}{
		"nothing was stored": {func(f *fixture) {
			f.heard(key, "create", history.Executed, "an id "+audit.Name(key, "create"))
		}, "acknowledged, and no row of the key has it"},
		"another payload was stored": {func(f *fixture) {
			f.done(key, "create")
			f.heard(key, "create", history.Replayed, "an id "+audit.Name(key, "create"))
		}, "acknowledged, and no row of the key has it"},
		"two callers executed it": {func(f *fixture) {
			payload := f.done(key, "create")
			f.heard(key, "create", history.Executed, payload)
			f.heard(key, "create", history.Executed, payload)
		}, "executed for 2 callers"},
		"a definite error, and an effect": {func(f *fixture) {
			f.done(key, "create")
			f.heard(key, "create", history.Reused, "")
			f.heard(key, "other", history.Unknown, "")
		}, `"create" took effect, and every call with it was refused`},
		"a second effect": {func(f *fixture) {
			f.heard(key, "create", history.Executed, f.done(key, "create"))
			f.effect(audit.Name(key, "create"))
		}, "1 effects, and 0 rows"},
		"the same effect twice": {func(f *fixture) {
			f.heard(key, "change", history.Executed, f.done(key, "change"))
			f.effect(audit.Name(key, "change"))
		}, "2 effects, and 1 rows"},
		"no effect": {func(f *fixture) {
			id, name := uuid.NewString(), audit.Name(key, "create")
			f.row(key, id, name)
			f.heard(key, "create", history.Executed, audit.Payload(id, name))
		}, "a row of the key without an effect"},
		"another key's payload": {func(f *fixture) {
			name := audit.Name("other", "create")
			f.row(key, f.effect(name), name)
			f.heard(key, "create", history.Unknown, "")
		}, "has another key's payload"},
		"replayed for too long": {func(f *fixture) {
			f.heard(key, "create", history.Executed, f.done(key, "create"))
			f.exec(`update idempotency_keys set expires_at = expires_at + interval '2 ms'`)
		}, "replayed for 1h0m0.002s and kept for 2h0m0s, want 1h0m0s and 2h0m0s"},
		"kept for too short": {func(f *fixture) {
			f.heard(key, "create", history.Executed, f.done(key, "create"))
			f.exec(`update idempotency_keys set retained_until = retained_until - interval '1 s'`)
		}, "want 1h0m0s and 2h0m0s"},
		"removed": {func(f *fixture) {
			f.heard(key, "create", history.Executed, f.done(key, "create"))
			f.exec(`update idempotency_keys set expires_at = now() - interval '2 s', retained_until = now() - interval '1 s'`)
			f.exec(`delete from idempotency_keys`)
		}, "before its retention was over"},
		"two rows": {func(f *fixture) {
			payload := f.done(key, "change")
			f.exec(`update idempotency_keys set scope = 'another'`)
			f.done(key, "change")
			f.heard(key, "change", history.Executed, payload)
		}, "2 rows of the key"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			test.happens(f)
			f.want(key, test.says)
		})
	}
}

// What was compared does not count for the next run of calls.
func TestClear_ForgetsWhatWasCompared(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.done("created", "create")
	f.done("changed", "change")
	f.done("forgotten", "create")
	f.exec(`delete from idempotency_keys where key = 'forgotten'`)
	if err := audit.Clear(t.Context(), f.conn); err != nil {
		t.Fatal(err)
	}
	f.want("", "")
	var projects int
	if err := f.conn.QueryRow(t.Context(), `select count(*) from projects`).Scan(&projects); err != nil || projects != 1 {
		t.Errorf("%d projects are left, %v; want the one that calls change", projects, err)
	}
	// The triggers are there again.
	f.heard("changed", "change", history.Executed, f.done("changed", "change"))
	f.want("", "")
}
