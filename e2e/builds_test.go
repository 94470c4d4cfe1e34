package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// git returns a git command in this clone, which may belong to another user.
func git(args ...string) *exec.Cmd {
	cmd := exec.Command("git", append([]string{"-c", "safe.directory=*"}, args...)...)
	cmd.Dir = moduleRoot
	return cmd
}

// previousCommit is the commit that the file previous-build names.
func previousCommit() (string, error) {
	pinned, err := os.ReadFile(filepath.Join(moduleRoot, "previous-build"))
	if err != nil {
		return "", err
	}
	commit := strings.TrimSpace(string(pinned))
	if output, err := git("cat-file", "-e", commit+"^{commit}").CombinedOutput(); err != nil {
		return "", fmt.Errorf("the file previous-build names the commit %q, which is not in this clone. "+
			"These tests need it: fetch the whole history (git fetch --unshallow): %w\n%s", commit, err, output)
	}
	return commit, nil
}

// previous is the build of the commit that the file previous-build names: the one that
// runs beside this build during a deploy, and that people go back to.
var previous build = sync.OnceValues(func() (string, error) {
	commit, err := previousCommit()
	if err != nil {
		return "", err
	}
	path, err := programPath("onceql-" + commit)
	if err != nil {
		return "", err
	}
	sources := path + "-sources"
	defer func() { _ = os.RemoveAll(sources) }()
	if err := os.Mkdir(sources, 0o755); err != nil {
		return "", err
	}
	if output, err := git("archive", "--format=tar", "-o", sources+".tar", commit).CombinedOutput(); err != nil {
		return "", fmt.Errorf("the sources of the build before: %w\n%s", err, output)
	}
	if output, err := exec.Command("tar", "-x", "-f", sources+".tar", "-C", sources).CombinedOutput(); err != nil {
		return "", fmt.Errorf("the sources of the build before: %w\n%s", err, output)
	}
	// As it is released, and so that Go's cache knows its packages in any directory.
	compile := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-o", path, ".")
	compile.Dir = sources
	compile.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := compile.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the build before: %w\n%s", err, output)
	}
	return path, nil
})

// inBothOrders runs the test twice: the database is migrated by the build before, which
// this one joins, and by this one, which that one joins. The servers tell themselves
// apart in pg_stat_activity.
func inBothOrders(t *testing.T, test func(t *testing.T, d *database, first, second *server)) {
	t.Helper()
	for name, order := range map[string][2]build{
		"the build before first": {previous, program},
		"this build first":       {program, previous},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := emptyDatabase(t)
			first := order[0].serve(t, url+"&application_name=first")
			second := order[1].serve(t, url+"&application_name=second")
			test(t, connect(t, url), first, second)
		})
	}
}

// recordEffects keeps a line for each time that a project is written from now on, and
// forgets the keys of before.
func (d *database) recordEffects() {
	d.t.Helper()
	d.exec(`delete from idempotency_keys`)
	d.exec(`create table effects (id uuid, name text); grant insert on effects to public`)
	d.exec(`create function note() returns trigger language plpgsql as
		$$ begin insert into effects values (new.id, new.name); return null; end $$`)
	d.exec(`create trigger note after insert or update on projects for each row execute function note()`)
}

// wantEffects checks that there is one effect for each key.
func (d *database) wantEffects(want int) {
	d.t.Helper()
	if n := d.count(`select count(*) from effects`); n != want {
		d.t.Errorf("%d effects, want %d", n, want)
	}
	if n := d.count(`select count(*) from idempotency_keys`); n != want {
		d.t.Errorf("%d keys, want %d", n, want)
	}
}

// archive asks for the project to be archived.
func archive(key, id string) request {
	return request{
		Query: `mutation ($input: ArchiveProjectInput!, $key: String!) {
			archiveProject(input: $input, idempotencyKey: $key) { project { id name description createdAt updatedAt archivedAt } } }`,
		Variables: map[string]any{"key": key, "input": map[string]any{"id": id}},
	}
}

// data is the answer's data as it was sent.
func (a answer) data(t testing.TB) string {
	t.Helper()
	var body struct{ Data json.RawMessage }
	if err := json.Unmarshal([]byte(a.raw), &body); err != nil {
		t.Fatalf("%v: %s", err, a.raw)
	}
	return string(body.Data)
}

// wantReplayOf checks that the answer replays the other byte for byte.
func wantReplayOf(t testing.TB, executed, replayed answer) {
	t.Helper()
	wantStatus(t, replayed, "REPLAYED")
	if diff := cmp.Diff(executed.data(t), replayed.data(t)); diff != "" {
		t.Errorf("the replay differs:\n%s", diff)
	}
	for field, was := range executed.Extensions.Idempotency {
		was.Status = "REPLAYED"
		if diff := cmp.Diff(was, replayed.Extensions.Idempotency[field]); diff != "" {
			t.Errorf("what the replay says of the execution differs:\n%s", diff)
		}
	}
}

func TestBuilds_ReplayEachOther(t *testing.T) {
	t.Parallel()
	inBothOrders(t, func(t *testing.T, d *database, first, second *server) {
		strange := map[string]any{"name": "<Ångström> & \u2028 \U0001F680 \\u0041", "description": "1.0\n\"e0\"\t\u007f"}
		for i, servers := range [][2]*server{{first, second}, {second, first}} {
			one, other := servers[0], servers[1]
			made := one.send(createWith(fmt.Sprint("create ", i), strange))
			id := made.project().ID
			calls := []request{
				createWith(fmt.Sprint("create ", i), strange),
				rename(fmt.Sprint("update ", i), id, "Gemini"),
				archive(fmt.Sprint("archive ", i), id),
			}
			answers := []answer{made, one.send(calls[1]), one.send(calls[2])}
			for n, call := range calls {
				wantStatus(t, answers[n], "EXECUTED")
				wantReplayOf(t, answers[n], other.send(call))
				wantReplayOf(t, answers[n], one.send(call))
				key := call.Variables["key"].(string)
				wantCode(t, other.send(create(key, "Another")), "IDEMPOTENCY_KEY_REUSED")
				wantCode(t, other.send(rename(key, id, "Another")), "IDEMPOTENCY_KEY_REUSED")
			}
			d.exec(`update idempotency_keys set created_at = created_at - interval '25 hours', expires_at = expires_at - interval '25 hours'`)
			for _, call := range calls {
				wantCode(t, other.send(call), "IDEMPOTENCY_KEY_EXPIRED")
			}
		}
		d.wantStored(2, 6)
	})
}

func TestBuilds_ExpireByTheTimeToLiveOfTheOneThatExecuted(t *testing.T) {
	t.Parallel()
	url := emptyDatabase(t)
	for i, order := range [][2]build{{previous, program}, {program, previous}} {
		short, long := order[0].serve(t, url, "IDEMPOTENCY_TTL=1s"), order[1].serve(t, url)
		key := fmt.Sprint("k", i)
		wantStatus(t, short.send(create(key, "Apollo")), "EXECUTED")
		eventually(t, "the key to expire", func() bool {
			a := long.send(create(key, "Apollo"))
			if a.fieldStatus() != "REPLAYED" {
				wantCode(t, a, "IDEMPOTENCY_KEY_EXPIRED")
			}
			return a.code() == "IDEMPOTENCY_KEY_EXPIRED"
		})
		wantStatus(t, long.send(create(key+" for long", "Apollo")), "EXECUTED")
	}
	d := connect(t, url)
	d.wantStored(4, 4)
	if n := d.count(`select count(*) from idempotency_keys where expires_at = created_at + interval '24 hours'`); n != 2 {
		t.Errorf("%d keys are replayed for 24 hours, want 2", n)
	}
}

func TestBuilds_ExecuteACallOnceThatIsUnderWayInBoth(t *testing.T) {
	t.Parallel()
	inBothOrders(t, func(t *testing.T, d *database, first, second *server) {
		subject := first.send(create("subject", "Mercury")).project().ID
		d.recordEffects()
		effects := 0
		for _, c := range []struct {
			leader, duplicates *server
			name               string
		}{{first, second, "second"}, {second, first, "first"}} {
			for _, call := range []request{
				create("create beside "+c.name, "Apollo"),
				rename("update beside "+c.name, subject, "Gemini beside "+c.name),
			} {
				release := d.holdProjects()
				leader := startBurst(t, 1, []*server{c.leader}, func(int) request { return call })
				// For longer than a batch may, which would let go of the key in between.
				eventually(t, "the effect to wait by itself", func() bool {
					return d.count(`select count(*) from pg_stat_activity
						where datname = current_database() and wait_event_type = 'Lock'
						and query_start < clock_timestamp() - interval '300 milliseconds'`) == 1
				})
				duplicates := startBurst(t, 20, []*server{c.duplicates}, func(int) request { return call })
				// It rolls back what found the key busy.
				eventually(t, "the other build to have looked for the key", func() bool {
					return duplicates.underWay() && d.count(`select count(*) from pg_stat_activity
						where datname = current_database() and application_name = $1 and query = 'rollback'`, c.name) > 0
				})
				if n := d.held(); n > 1 {
					t.Errorf("%d effects run under one key, want 1", n)
				}
				release()
				executed := leader.wait()[0]
				wantStatus(t, executed, "EXECUTED")
				for _, a := range duplicates.wait() {
					wantReplayOf(t, executed, a)
				}
				effects++
			}
		}
		d.wantEffects(effects)
	})
}

func TestBuilds_TakeABurstOfTheSameKeys(t *testing.T) {
	t.Parallel()
	inBothOrders(t, func(t *testing.T, d *database, first, second *server) {
		const keys, times = 60, 8
		projects := subjects(first, keys)
		d.recordEffects()
		// The two servers are sent each key in turn.
		answers := sendBurst(t, keys*times, []*server{first, second}, func(i int) request {
			key := i / 2 % keys
			if key%3 == 0 {
				return rename(fmt.Sprint(key), projects[key], fmt.Sprint("Gemini ", key))
			}
			return create(fmt.Sprint(key), fmt.Sprint("Apollo ", key))
		})
		byKey := make([][]answer, keys)
		for i, a := range answers {
			byKey[i/2%keys] = append(byKey[i/2%keys], a)
		}
		for _, same := range byKey {
			wantOneExecution(t, same)
		}
		d.wantEffects(keys)
	})
}

// A deploy: this build migrates the database while the one before serves. It is taken
// back: the one before goes on, and starts, on the schema of this one.
func TestBuilds_CanBeDeployedAndTakenBackUnderLoad(t *testing.T) {
	t.Parallel()
	url := emptyDatabase(t)
	old, d := previous.serve(t, url), connect(t, url)
	projects := subjects(old, 8)
	d.recordEffects()

	load := startLoad(t, projects, old)
	load.more(50, sent.succeeded)
	current := serve(t, url)
	load.more(50, sent.succeeded)
	load.sendTo(old, current)
	load.more(200, sent.succeeded)
	load.sendTo(current)
	load.more(50, sent.succeeded)
	load.sendTo(old, current)
	load.more(50, sent.succeeded)
	load.sendTo(old)
	current.stop()
	load.more(50, sent.succeeded)
	again := previous.serve(t, url)
	load.sendTo(old, again)
	load.more(100, sent.succeeded)
	executed := load.end()

	for _, e := range executed {
		wantStatus(t, e.answer, "EXECUTED")
	}
	d.wantEffects(len(executed))
	// What any of them did all of them replay.
	current = serve(t, url)
	for _, e := range executed {
		for _, s := range []*server{old, again, current} {
			wantReplayOf(t, e.answer, s.send(e.request))
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	d.wantEffects(len(executed))
}

// The build before purges by its own retention. The policies of the database hold it to
// what the rows say.
func TestBuilds_PurgeNoRowWhoseRetentionIsNotOver(t *testing.T) {
	t.Parallel()
	url := emptyDatabase(t)
	d := connect(t, url)
	current := serve(t, url)
	const short = "IDEMPOTENCY_RETENTION=1h"
	// Each purges half a minute after it starts at the earliest; the first one decides.
	old := []*server{
		previous.serve(t, url, short, "IDEMPOTENCY_TTL=1h"),
		previous.serve(t, url, short, "IDEMPOTENCY_TTL=1h"),
		previous.serve(t, url, short, "IDEMPOTENCY_TTL=1h"),
	}
	wantStatus(t, current.send(create("this build's", "Apollo")), "EXECUTED")
	wantStatus(t, old[0].send(create("the one before's", "Apollo")), "EXECUTED")
	wantStatus(t, old[0].send(create("over", "Apollo")), "EXECUTED")
	if n := d.count(`select count(*) from idempotency_keys where retained_until >= created_at + interval '72 hours'`); n != 3 {
		t.Errorf("%d rows are kept for 72 hours, want all 3", n)
	}
	current.stop()
	age := func(key, by string) {
		d.exec(`update idempotency_keys set created_at = created_at - $1::text::interval, expires_at = expires_at - $1::text::interval,
			retained_until = retained_until - $1::text::interval where key = $2`, by, key)
	}
	age("this build's", "71 hours")
	age("the one before's", "71 hours")
	age("over", "73 hours") // At last, so that a purge that removes it has seen the others.
	within(t, 2*time.Minute, "the build before to purge", func() bool {
		return d.count(`select count(*) from idempotency_keys where key = 'over'`) == 0
	})
	wantCode(t, old[1].send(create("this build's", "Apollo")), "IDEMPOTENCY_KEY_EXPIRED")
	wantCode(t, old[1].send(create("the one before's", "Apollo")), "IDEMPOTENCY_KEY_EXPIRED")
	wantStatus(t, old[2].send(create("over", "Apollo")), "EXECUTED")
	d.wantStored(4, 3)
}

// The build before knows no versions: what it changes keeps its version, so that a
// condition on one would hold. Once previous-build names a build with versions, this test
// goes, and ACCEPT_IF_VERSION with it.
func TestBuilds_RefuseIfVersionWhileOneRaisesNone(t *testing.T) {
	t.Parallel()
	url := emptyDatabase(t)
	current := serve(t, url, "ACCEPT_IF_VERSION=false")
	old, d := previous.serve(t, url), connect(t, url)
	id := old.send(create("create", "Apollo")).project().ID
	wantStatus(t, old.send(rename("old", id, "Gemini")), "EXECUTED")
	wantVersion(t, current.send(edit("no change", id, map[string]any{"name": "Gemini"})), "EXECUTED", 1)
	for name, s := range map[string]*server{"old": old, "current": current} {
		conditional := rename("conditional", id, name)
		conditional.Variables["input"].(map[string]any)["ifVersion"] = 1
		wantCode(t, s.send(conditional), "BAD_USER_INPUT")
	}
	wantVersion(t, current.send(edit("new", id, map[string]any{"name": "Apollo"})), "EXECUTED", 2)
	wantStatus(t, old.send(archive("archive", id)), "EXECUTED")
	wantVersion(t, current.send(archived("archive", id, true)), "REPLAYED", 1)
	wantVersion(t, current.send(archived("take back", id, false)), "EXECUTED", 3)
	wantStatus(t, old.send(rename("new", id, "Apollo")), "REPLAYED")
	d.wantStored(1, 6)
}
