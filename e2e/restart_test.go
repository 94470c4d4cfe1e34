package e2e_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/onceql/onceql/internal/pgtest"
)

// connections is how many callers there are while the database is away.
const connections = 64

// An interruption takes a server's database away, and brings it back on the same host or
// on another one of the address.
type interruption struct {
	url  string
	stop func()
	// start returns the database that is there then.
	start func() *database
}

func interruptions() map[string]func(t *testing.T) interruption {
	return map[string]func(t *testing.T) interruption{
		"it restarts": func(t *testing.T) interruption {
			postgres := pgtest.NewServer(t)
			return interruption{postgres.URL(), func() { postgres.Stop(t) }, func() *database {
				postgres.Start(t)
				return connect(t, postgres.URL())
			}}
		},
		"its standby takes over": func(t *testing.T) interruption {
			primary := pgtest.NewServer(t)
			standby := primary.Follower(t)
			// postgres://user:password@host:port/database?options
			_, hosts, _ := strings.Cut(primary.URL(), "@")
			host, _, _ := strings.Cut(hosts, "/")
			_, hosts, _ = strings.Cut(standby.URL(), "@")
			other, _, _ := strings.Cut(hosts, "/")
			url := strings.Replace(primary.URL(), host, host+","+other, 1) + "&target_session_attrs=read-write"
			return interruption{url, func() { primary.Stop(t) }, func() *database {
				standby.Promote(t)
				return connect(t, standby.URL())
			}}
		},
	}
}

func TestInterruption_ShorterThanTheWaitIsSeenByNobody(t *testing.T) {
	t.Parallel()
	for name, prepare := range interruptions() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			away := prepare(t)
			s, d := serve(t, away.url), connect(t, away.url)
			projects := subjects(s, connections)
			d.recordEffects()
			load := startLoad(t, projects, s)
			load.more(200, sent.succeeded)
			away.stop()
			stopped := time.Now()
			d = away.start()
			back := time.Now()
			load.more(500, sent.succeeded)
			calls := load.end()
			for _, call := range calls {
				wantStatus(t, call.answer, "EXECUTED")
				if took := call.end.Sub(call.begun); took > back.Sub(stopped)+10*time.Second {
					t.Errorf("a call took %s; the database was away for %s", took, back.Sub(stopped))
				}
			}
			d.wantEffects(len(calls))
		})
	}
}

func TestInterruption_LongerThanTheWaitIsRetryableAndThenOver(t *testing.T) {
	t.Parallel()
	for name, prepare := range interruptions() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			away := prepare(t)
			s, d := serve(t, away.url, "IDEMPOTENCY_WAIT=5s"), connect(t, away.url)
			projects := subjects(s, connections)
			d.recordEffects()
			load := startLoad(t, projects, s)
			load.more(200, sent.succeeded)
			away.stop()
			stopped := time.Now()
			load.more(2*connections, func(call sent) bool { return call.answer.status == 503 })
			returning := time.Now()
			d = away.start()
			back := time.Now()
			var recovered time.Time
			load.more(1, func(call sent) bool {
				recovered = call.end
				return call.succeeded() && call.begun.After(back)
			})
			if took := recovered.Sub(back); took > 5*time.Second {
				t.Errorf("the first call succeeded %s after the database was back", took)
			}
			load.more(500, sent.succeeded)
			calls := load.end()
			var failed []sent
			for _, call := range calls {
				switch {
				case call.succeeded():
					wantStatus(t, call.answer, "EXECUTED")
					continue
				case call.begun.After(recovered):
					t.Errorf("a call failed that was sent when others succeeded again: %d %s", call.answer.status, call.answer.raw)
				case call.begun.After(stopped) && call.end.Before(returning), call.answer.code() != "IDEMPOTENCY_IN_PROGRESS":
					wantRetryable(t, call.answer)
				case !call.answer.failure().Retryable:
					t.Errorf("not retryable: %d %s", call.answer.status, call.answer.raw)
				}
				failed = append(failed, call)
			}
			if !slices.ContainsFunc(failed, func(call sent) bool { return call.answer.status != 503 }) {
				t.Error("no call was there when the database went away")
			}
			for _, call := range failed {
				if a := s.send(call.request); a.fieldStatus() == "" {
					t.Errorf("sent again: %d %s", a.status, a.raw)
				}
			}
			d.wantEffects(len(calls))
		})
	}
}
