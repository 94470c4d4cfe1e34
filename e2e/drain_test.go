package e2e_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/onceql/onceql/internal/pgtest"
)

func TestDrain_AnswersWhatRunsAndExitsZero(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url), connect(t, url)
	release := d.holdProjects()
	// The body is sent when the server's handler reads it. A server that drains drops
	// what it has accepted and has not begun to read.
	running := append(occupy(s, d, "Apollo"),
		startBurst(t, 20, []*server{s}, func(i int) request { return create(fmt.Sprint("queued ", i), "Apollo") }, "Expect", "100-continue"))
	eventually(t, "the others to be read", running[batches].underWay)
	s.get("/healthz")
	s.terminate()
	eventually(t, "the server to take no new work", func() bool {
		conn, err := net.Dial("tcp", s.address())
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	release()
	for _, calls := range running {
		for _, a := range calls.wait() {
			wantStatus(t, a, "EXECUTED")
		}
	}
	if code := s.wait(); code != 0 {
		t.Errorf("exit code %d, want 0:\n%s", code, s.stderr)
	}
	d.wantStored(batches+20, batches+20)
}

func TestDrain_GivesUpAfterItsTimeout(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url, "DRAIN_TIMEOUT=200ms", "IDEMPOTENCY_BUDGET=24h", "IDEMPOTENCY_WAIT=24h", "REQUEST_TIMEOUT=24h"), connect(t, url)
	release := d.holdProjects()
	cutOff := make(chan struct{})
	go func() {
		defer close(cutOff)
		if a, err := s.try(t.Context(), create("k", "Apollo")); err == nil {
			wantRetryable(t, a)
		}
	}()
	eventually(t, "the effect to wait", func() bool { return d.held() == 1 })
	s.terminate()
	if code := s.wait(); code == 0 || !strings.Contains(s.stderr.String(), "executions have not ended") {
		t.Errorf("exit code %d for a request that was cut off:\n%s", code, s.stderr)
	}
	<-cutOff
	next := serve(t, url)
	release()
	eventually(t, "the retry to be answered", func() bool { return next.send(create("k", "Apollo")).project().Name == "Apollo" })
	d.wantStored(1, 1)
}

func TestDrain_FinishesWorkWhoseCallerLeft(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url), connect(t, url)
	work := rename("k", s.send(create("subject", "Mercury")).project().ID, "Apollo")
	release := d.holdProjects()
	ctx, hangUp := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = s.try(ctx, work)
	}()
	eventually(t, "the effect to wait", func() bool { return d.held() == 1 })
	hangUp()
	<-gone
	s.terminate()
	eventually(t, "the server to drain", func() bool { return strings.Contains(s.stderr.String(), "draining") })
	release()
	if code := s.wait(); code != 0 {
		t.Errorf("exit code %d, want 0:\n%s", code, s.stderr)
	}
	d.wantStored(1, 2)
	if n := d.count(`select count(*) from projects where name = 'Apollo'`); n != 1 {
		t.Error("the work was not finished")
	}
}

func TestDrain_TellsBalancersWhileItStillTakesConnections(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s := serve(t, url, "DRAIN_DELAY=24h")
	s.terminate()
	wantUnready(t, s, "draining")
	for i := range 3 {
		wantStatus(t, s.send(create(fmt.Sprint(i), "Apollo")), "EXECUTED")
	}
	// An answer asks its client to take another connection, and perhaps another server.
	conn, err := net.Dial("tcp", s.address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
	_ = conn.SetReadDeadline(time.Now().Add(testTimeout))
	if answer, err := io.ReadAll(conn); err != nil || !strings.Contains(string(answer), "Connection: close\r\n") {
		t.Errorf("%v, want Connection: close in the answer:\n%s", err, answer)
	}
	s.wantEndedBy(syscall.SIGTERM)

	s = serve(t, url, "DRAIN_DELAY=100ms")
	s.terminate()
	if code := s.wait(); code != 0 {
		t.Errorf("exit code %d, want 0:\n%s", code, s.stderr)
	}
}

// wantEndedBy sends the signal until the server has ended, by the second one.
func (s *server) wantEndedBy(signal syscall.Signal) {
	s.t.Helper()
	eventually(s.t, "a second signal to end the server", func() bool {
		_ = s.process.Signal(signal)
		select {
		case <-s.ended:
			return true
		default:
			return false
		}
	})
	if code := s.wait(); code != 128+int(signal) {
		s.t.Errorf("exit code %d, want %d", code, 128+int(signal))
	}
}

func TestDrain_EndsAtOnceByASecondSignal(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url, "DRAIN_TIMEOUT=24h"), connect(t, url)
	release := d.holdProjects()
	gone := sendInVain(s, create("k", "Apollo"))
	eventually(t, "the effect to wait", func() bool { return d.held() == 1 })
	s.wantEndedBy(syscall.SIGINT)
	<-gone
	release()
	next := serve(t, url)
	eventually(t, "the retry to be answered", func() bool { return next.send(create("k", "Apollo")).fieldStatus() != "" })
	d.wantStored(1, 1)
}

// A client that takes its time holds up the server for as long as DRAIN_TIMEOUT says. It
// loses nothing: its request was not begun.
func TestDrain_GivesUpASlowBodyAndExitsZero(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url, "DRAIN_TIMEOUT=3s"), connect(t, url)
	conn, err := net.Dial("tcp", s.address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	if line, err := reader.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("%q, %v", line, err)
	}
	_, _ = io.WriteString(conn, `{"query":`)
	release := d.holdProjects()
	running := occupy(s, d, "Apollo")
	s.terminate()
	eventually(t, "the server to drain", func() bool { return strings.Contains(s.stderr.String(), "draining") })
	release()
	for _, calls := range running {
		for _, a := range calls.wait() {
			wantStatus(t, a, "EXECUTED")
		}
	}
	if code := s.wait(); code != 0 || !strings.Contains(s.stderr.String(), `msg="gave up requests that had not arrived as a whole" requests=1`) {
		t.Errorf("exit code %d, want 0 and a line about the request:\n%s", code, s.stderr)
	}
	d.wantStored(batches, batches)
}

func TestStart_ThatIsStoppedExitsZero(t *testing.T) {
	t.Parallel()
	url := emptyDatabase(t)
	connect(t, url).exec(`select pg_advisory_lock(4097083626)`)
	s := launch(t, "DATABASE_URL="+url)
	eventually(t, "the server to wait for another", func() bool { return strings.Contains(s.stderr.String(), "another server migrates") })
	s.terminate()
	if code := s.wait(); code != 0 || !strings.Contains(s.stderr.String(), "stopped before it served") {
		t.Errorf("exit code %d, want 0:\n%s", code, s.stderr)
	}
}
