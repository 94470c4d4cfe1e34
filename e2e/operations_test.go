package e2e_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	s, d := serve(t, url, "DRAIN_TIMEOUT=200ms", "IDEMPOTENCY_BUDGET=24h", "IDEMPOTENCY_WAIT=24h"), connect(t, url)
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
	if code := s.wait(); code == 0 || !strings.Contains(s.stderr.String(), "draining the requests") {
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

func TestPaths_ServeTheSchemaThePlaygroundAndHealth(t *testing.T) {
	t.Parallel()
	s := serve(t, pgtest.URL(t))
	schema, err := os.ReadFile(filepath.Join(moduleRoot, "schema.graphql"))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]struct {
		status           int
		mediaType, holds string
	}{
		"/schema.graphql": {200, "text/plain; charset=utf-8", string(schema)},
		"/":               {200, "text/html; charset=UTF-8", "<html"},
		"/healthz":        {200, "text/plain; charset=utf-8", "ok"},
		"/readyz":         {200, "text/plain; charset=utf-8", "ok"},
		"/elsewhere":      {404, "text/plain; charset=utf-8", ""},
	} {
		got := s.get(path)
		if got.status != want.status || !strings.EqualFold(got.header.Get("Content-Type"), want.mediaType) || !strings.Contains(got.raw, want.holds) {
			t.Errorf("%s: %d %s", path, got.status, got.header.Get("Content-Type"))
		}
		if got.header.Get("X-Request-Id") == "" {
			t.Errorf("%s: no X-Request-Id", path)
		}
	}
	if !strings.Contains(s.stdout.String(), "Playground") || !strings.Contains(s.stdout.String(), "Data") {
		t.Errorf("the start does not say where everything is:\n%s", s.stdout)
	}
}
