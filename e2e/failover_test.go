package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onceql/onceql/internal/pgtest"
)

// How soon after a promotion the servers have to be with the new primary: answering
// again, where the old one fell silent, and off the old one, where it did not.
const (
	recoverWithin = 8 * time.Second
	leaveWithin   = 5 * time.Second
)

// A pair is a primary and a synchronous standby, and a server whose address names both,
// the primary first. It has the time-outs that it has by default.
type pair struct {
	*server
	t         testing.TB
	old, next *pgtest.Server
	env       []string
	// database is the primary's, until the promotion.
	database *database
	// acknowledged counts each caller's keys that were answered with success.
	acknowledged [callers]atomic.Int64
}

const callers = 8

func newPair(t testing.TB, options string) *pair {
	t.Helper()
	p := &pair{t: t, old: pgtest.NewServer(t)}
	p.next = p.old.Follower(t)
	p.database = connect(t, p.old.URL())
	p.database.exec(`alter system set synchronous_standby_names = '*'`)
	p.database.exec(`select pg_reload_conf()`)
	eventually(t, "the standby to be synchronous", func() bool {
		return p.database.count(`select count(*) from pg_stat_replication where sync_state = 'sync'`) == 1
	})
	first, err := url.Parse(p.old.URL())
	if err != nil {
		t.Fatal(err)
	}
	second, err := url.Parse(p.next.URL())
	if err != nil {
		t.Fatal(err)
	}
	address := strings.Replace(p.old.URL(), first.Host, first.Host+","+second.Host, 1) + options
	p.env = []string{"DATABASE_URL=" + pgtest.AsRole(t, address), "MIGRATION_DATABASE_URL=" + address}
	p.server = p.another()
	return p
}

// another starts a server at the pair.
func (p *pair) another() *server {
	p.t.Helper()
	s := launch(p.t, p.env...)
	s.awaitURL()
	return s
}

// key is a caller's n-th.
func key(caller int, n int64) string { return fmt.Sprintf("%d of %d", n, caller) }

// call lets callers create projects, one after the other, each with the same key until it
// is answered, and returns once each has begun. hangUp ends that.
func (p *pair) call() (hangUp func()) {
	p.t.Helper()
	var calling sync.WaitGroup
	leave := make(chan struct{})
	hangUp = sync.OnceFunc(func() {
		close(leave)
		calling.Wait()
	})
	p.t.Cleanup(hangUp)
	for caller := range callers {
		calling.Go(func() {
			for {
				select {
				case <-leave:
					return
				default:
				}
				a, err := p.try(context.WithoutCancel(p.t.Context()), create(key(caller, p.acknowledged[caller].Load()), "Apollo"))
				switch {
				case err != nil:
					p.t.Errorf("no answer: %v", err)
					return
				case a.project().Name != "":
					p.acknowledged[caller].Add(1)
				default:
					time.Sleep(50 * time.Millisecond)
				}
			}
		})
	}
	p.progress(testTimeout)
	return hangUp
}

// progress waits until each caller has two more keys answered: the second was begun after
// now.
func (p *pair) progress(limit time.Duration) {
	p.t.Helper()
	for caller := range callers {
		before := p.acknowledged[caller].Load()
		within(p.t, limit, fmt.Sprintf("caller %d to be answered", caller), func() bool { return p.acknowledged[caller].Load() >= before+2 })
	}
}

// wantKept checks that what was answered is at the new primary, and once.
func (p *pair) wantKept() {
	p.t.Helper()
	next, sum := connect(p.t, p.next.URL()), 0
	for caller := range callers {
		n := int(p.acknowledged[caller].Load())
		sum += n
		if kept := next.count(`select count(*) from idempotency_keys where key like $1`, "% of "+fmt.Sprint(caller)); kept < n || kept > n+1 {
			p.t.Errorf("caller %d had %d keys answered, and %d are kept", caller, n, kept)
		}
	}
	if n := next.count(`select count(*) from projects`); n < sum || n > sum+callers {
		p.t.Errorf("%d projects for %d keys", n, sum)
	}
}

// remaining is what is left of the limit since then.
func remaining(limit time.Duration, since time.Time) time.Duration {
	return max(0, limit-time.Since(since))
}

// A primary that freezes answers nothing, and takes connections all the same. One that is
// stopped refuses them.
func TestFailover_FromASilentPrimary(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		stops   bool
		options string
	}{
		"that froze":                        {},
		"that froze, read-write in the URL": {options: "&target_session_attrs=read-write"},
		"that stopped":                      {stops: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, test.options)
			hangUp := p.call()
			var back func()
			if test.stops {
				p.old.Stop(t)
				back = func() { p.old.Start(t) }
			} else {
				back = p.old.Freeze(t)
			}
			p.next.Promote(t)
			promoted := time.Now()
			p.progress(remaining(recoverWithin, promoted))
			t.Logf("answered again %s after the promotion", time.Since(promoted).Round(time.Millisecond))
			within(t, remaining(recoverWithin, promoted), "/readyz to say ok", func() bool { return p.get("/readyz").status == 200 })
			// One begins meanwhile, and then the old primary is back.
			began := time.Now()
			another := p.another()
			t.Logf("another server began within %s", time.Since(began).Round(time.Millisecond))
			wantStatus(t, another.send(create(key(0, 0), "Apollo")), "REPLAYED")
			back()
			p.progress(testTimeout)
			hangUp()
			p.wantKept()
		})
	}
}

// A primary that nobody fenced takes writes as before.
func TestFailover_FromAPrimaryThatIsAwake(t *testing.T) {
	t.Parallel()
	p := newPair(t, "&target_session_attrs=read-write")
	// What is acknowledged while the server has not noticed is lost, so nobody calls then.
	p.call()()
	p.database.exec(`alter system set synchronous_standby_names = ''`)
	p.database.exec(`select pg_reload_conf()`)
	connected := func() int {
		return p.database.count(`select count(*) from pg_stat_activity where application_name = 'onceql'`)
	}
	if connected() == 0 {
		t.Fatal("the server has no connection to the primary")
	}
	before := p.database.count(`select count(*) from projects`)
	p.next.Promote(t)
	promoted := time.Now()
	within(t, leaveWithin, "the server to leave the old primary", func() bool { return connected() == 0 })
	t.Logf("left the old primary %s after the promotion", time.Since(promoted).Round(time.Millisecond))
	p.call()()

	// Nor does one begin with the old primary.
	p.server = p.another()
	p.call()()
	if n := p.database.count(`select count(*) from projects`); n != before || connected() != 0 {
		t.Errorf("the old primary has %d projects and %d connections, want %d and none", n, connected(), before)
	}
	p.wantKept()
	if log := p.stderr.String(); !strings.Contains(log, `msg="an old primary takes writes: fence it"`) {
		t.Errorf("the log does not say that there is an old primary:\n%s", log)
	}

	// What an operator is told of the schema is the new primary's.
	p.database.exec(`delete from goose_db_version where version_id = (select max(version_id) from goose_db_version)`)
	status, err := command(t, p.env, "migrate", "status").Output()
	if err != nil || bytes.Contains(status, []byte("pending")) {
		t.Errorf("onceql migrate status: %v\n%s", err, status)
	}
}

// A standby that has to confirm commits is away: stopped, or still connected and silent.
func TestReadiness_FailsWhileCommitsWaitForAStandby(t *testing.T) {
	t.Parallel()
	p := newPair(t, "")
	wantStatus(t, p.send(create("before", "Apollo")), "EXECUTED")
	const why = "commits wait for a standby"
	wantTold := func(since time.Time) {
		wantUnready(t, p.server, why)
		t.Logf("told %s after the standby went", time.Since(since).Round(time.Millisecond))
	}
	wantBack := func() {
		began := time.Now()
		wantReadyAgain(t, p.server)
		t.Logf("ready again %s after the standby came back", time.Since(began).Round(time.Millisecond))
	}

	// Nobody calls, so no commit has to wait yet.
	p.next.Stop(t)
	wantTold(time.Now())
	p.next.Start(t)
	wantBack()
	wantStatus(t, p.send(create("between", "Apollo")), "EXECUTED")

	thaw := p.next.Freeze(t)
	went := time.Now()
	waiting := startBurst(t, 1, []*server{p.server}, func(int) request { return create("during", "Apollo") })
	wantTold(went)
	thaw()
	wantBack()
	for _, a := range waiting.wait() {
		if a.project().Name == "" {
			wantRetryable(t, a)
		}
	}
	eventually(t, "the key to go through", func() bool { return p.send(create("during", "Apollo")).project().Name == "Apollo" })
	wantLogged(t, p.server, 2, why)
	wantLogged(t, p.server, 2, "the database takes writes again")
}

func TestStart_GivesUpADatabaseThatIsSilent(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() // It accepts nobody; the kernel does.
	s := launch(t, "DATABASE_URL=postgres://u:s3cret@"+listener.Addr().String()+"/db?sslmode=disable")
	if code := s.wait(); code == 0 || strings.Contains(s.stderr.String(), "s3cret") {
		t.Errorf("exit code %d:\n%s", code, s.stderr)
	}
}
