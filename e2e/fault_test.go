package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/onceql/onceql/internal/pgtest"
)

func TestDatabase_GoesAwayAndComesBack(t *testing.T) {
	t.Parallel()
	postgres := pgtest.NewServer(t)
	s, d := serve(t, postgres.URL(), "IDEMPOTENCY_WAIT=5s"), connect(t, postgres.URL())
	wantStatus(t, s.send(create("before", "Apollo")), "EXECUTED")
	// By no session: one might be ended before those of the effects, which then go on.
	d.exec(`begin`)
	d.exec(`lock table projects in exclusive mode`)
	d.exec(`prepare transaction 'held'`)
	caught := startBurst(t, 3, []*server{s}, func(i int) request { return create(fmt.Sprint(i), "Apollo") })
	eventually(t, "an effect to wait", func() bool { return d.held() > 0 && caught.underWay() })
	postgres.Stop(t)

	for _, a := range caught.wait() {
		wantRetryable(t, a)
	}
	for range 3 {
		wantRetryable(t, s.send(create("during", "Gemini")))
	}
	eventually(t, "/readyz to say that the database is away", func() bool { return s.get("/readyz").status == 503 })
	if got := s.get("/healthz"); got.status != 200 {
		t.Errorf("/healthz says %d while the database is away", got.status)
	}

	postgres.Start(t)
	d = connect(t, postgres.URL())
	d.exec(`rollback prepared 'held'`)
	eventually(t, "the same key to go through", func() bool {
		a := s.send(create("during", "Gemini"))
		if a.fieldStatus() == "" {
			wantRetryable(t, a)
		}
		return a.project().Name == "Gemini"
	})
	eventually(t, "/readyz to say that the database is back", func() bool { return s.get("/readyz").status == 200 })
	wantStatus(t, s.send(create("before", "Apollo")), "REPLAYED")
	for i := range 3 {
		wantStatus(t, s.send(create(fmt.Sprint(i), "Apollo")), "EXECUTED")
	}
	d.wantStored(5, 5)
}

// wantRetryable checks that clients will send the request again: by the one form
// of a 503 that all of them know, or by the error's own word.
func wantRetryable(t testing.TB, a answer) {
	t.Helper()
	if a.status == 503 {
		if a.header.Get("Content-Type") != "text/plain; charset=utf-8" || a.header.Get("Retry-After") == "" {
			t.Errorf("refused with %v: %s", a.header, a.raw)
		}
		return
	}
	wantCode(t, a, "UNAVAILABLE")
	for _, e := range a.Errors {
		if !e.Extensions.Retryable || e.Extensions.RetryAfterMs <= 0 {
			t.Errorf("not retryable: %d %s", a.status, a.raw)
		}
	}
}

// The leader fails while others wait for the same key.
func TestFollowers_AreNotRefusedForACallThatFailed(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url), connect(t, url)
	release := d.hold(`idempotency_keys`, `access exclusive`)
	leader := startBurst(t, 1, []*server{s}, func(int) request { return create("k", "") })
	eventually(t, "the leader to look the key up", func() bool { return d.waiting(`relation = 'idempotency_keys'::regclass`) == 1 })
	followers := startBurst(t, 20, []*server{s}, func(int) request { return create("k", "Apollo") })
	eventually(t, "the others to be sent", followers.underWay)
	release()
	wantCode(t, leader.wait()[0], "BAD_USER_INPUT")
	wantOneExecution(t, followers.wait())
	d.wantStored(1, 1)
}

func TestCaller_LeavesTheQueueAndConsumesNoKey(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url), connect(t, url)
	subject := s.send(create("subject", "Mercury")).project().ID
	release := d.holdProjects()
	// Single calls, which wait for a lock as long as they may run.
	busy := startBurst(t, singlesOfOne, []*server{s}, func(i int) request { return rename(fmt.Sprint("busy ", i), subject, "Gemini") })
	eventually(t, "the workers to be busy", func() bool { return d.held() == singlesOfOne })

	// To the server a connection that is closed on one side is a caller that hung
	// up, and on the other side it can still be seen to have noticed.
	conn, err := net.Dial("tcp", s.address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body, err := json.Marshal(rename("k", subject, "Wrong"))
	if err != nil {
		t.Fatal(err)
	}
	post, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/graphql", strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	post.Header.Set("Content-Type", "application/json")
	if err := post.Write(conn); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, bufio.NewReader(conn)); err != nil {
		t.Fatal(err)
	}
	release()
	wantStatus(t, s.send(rename("k", subject, "Right")), "EXECUTED")
	for _, a := range busy.wait() {
		wantStatus(t, a, "EXECUTED")
	}
	d.wantStored(1, 1+singlesOfOne+1)
}
