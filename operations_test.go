package main_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onceql/onceql/internal/pgtest"
)

func TestDrain_AnswersWhatRunsAndExitsZero(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url, "IDEMPOTENCY_WAIT=50s", "IDEMPOTENCY_BUDGET=50s", "DRAIN_TIMEOUT=50s"), connect(t, url)
	release := d.holdProjects()
	answered := make(chan answer, 2)
	ask := func(key string) {
		a, err := s.try(t.Context(), create(key, "Apollo"))
		if err != nil {
			t.Errorf("the running request: %v", err)
		}
		answered <- a
	}
	go ask("one")
	go ask("two")
	eventually(t, "the effects to wait", func() bool { return d.held() == 2 })
	s.terminate()
	eventually(t, "the server to take no new work", func() bool {
		conn, err := net.Dial("tcp", s.address())
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	release()
	wantStatus(t, <-answered, "EXECUTED")
	wantStatus(t, <-answered, "EXECUTED")
	if code := s.wait(); code != 0 {
		t.Errorf("exit code %d, want 0:\n%s", code, s.stderr)
	}
	d.wantStored(2, 2)
}

func TestDrain_FinishesWorkWhoseCallerLeft(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, d := serve(t, url, "IDEMPOTENCY_BUDGET=50s", "DRAIN_TIMEOUT=50s"), connect(t, url)
	release := d.holdProjects()
	ctx, hangUp := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = s.try(ctx, create("k", "Apollo"))
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
	d.wantStored(1, 1)
}

func TestStart_OfSeveralServersAtOnceMigratesOnce(t *testing.T) {
	t.Parallel()
	url := emptyDatabase(t)
	servers := make([]*server, 4)
	for i := range servers {
		servers[i] = launch(t, "DATABASE_URL="+url)
	}
	for _, s := range servers {
		s.awaitURL()
	}
	wantOneExecution(t, storm(t, 40, servers, func(int) request { return create("k", "Apollo") }))
	connect(t, url).wantStored(1, 1)
}

// emptyDatabase is one that no migration has seen.
func emptyDatabase(t *testing.T) string {
	t.Helper()
	url := pgtest.URL(t)
	connect(t, url).exec(`drop schema public cascade; create schema public`)
	return url
}

func TestMigrate_UpAndStatus(t *testing.T) {
	t.Parallel()
	url := emptyDatabase(t)
	run := func(args ...string) string {
		output, err := command(t, []string{"DATABASE_URL=" + url}, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("onceql %s: %v\n%s", strings.Join(args, " "), err, output)
		}
		return string(output)
	}
	if got := run("migrate", "status"); strings.Count(got, "pending") != strings.Count(got, "\n") || !strings.Contains(got, "00001_idempotency_keys") {
		t.Errorf("status of an empty database:\n%s", got)
	}
	first := run("migrate", "up")
	if strings.Contains(first, "pending") {
		t.Errorf("up leaves something pending:\n%s", first)
	}
	if again := run("migrate", "up"); again != first || run("migrate", "status") != first {
		t.Errorf("up again:\n%s\nbefore:\n%s", again, first)
	}
	wantStatus(t, serve(t, url).send(create("k", "Apollo")), "EXECUTED")
}

func TestPaths_ServeTheSchemaThePlaygroundAndHealth(t *testing.T) {
	t.Parallel()
	s := serve(t, pgtest.URL(t))
	schema, err := os.ReadFile("schema.graphql")
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

func TestConfiguration_RefusesWhatCanNotWork(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env  string
		says string
	}{
		"beyond loopback":        {"LISTEN_ADDR=0.0.0.0:0", "ALLOW_ANONYMOUS"},
		"every interface":        {"LISTEN_ADDR=:0", "ALLOW_ANONYMOUS"},
		"no port":                {"LISTEN_ADDR=127.0.0.1", "LISTEN_ADDR"},
		"no duration":            {"IDEMPOTENCY_TTL=forever", "IDEMPOTENCY_TTL"},
		"negative wait":          {"IDEMPOTENCY_WAIT=-1s", "IDEMPOTENCY_"},
		"no budget":              {"IDEMPOTENCY_BUDGET=0", "IDEMPOTENCY_"},
		"short retention":        {"IDEMPOTENCY_RETENTION=1h", "retention"},
		"no such grouping":       {"IDEMPOTENCY_GROUP_BY=tenant", "IDEMPOTENCY_GROUP_BY"},
		"authentication":         {"AUTH_ISSUER=https://issuer.example", "AUTH_ISSUER"},
		"no body":                {"MAX_BODY_BYTES=0", "MAX_BODY_BYTES"},
		"no log level":           {"LOG_LEVEL=loud", "LOG_LEVEL"},
		"malformed database URL": {"DATABASE_URL=postgres://u:hunter2@host:port/db", "database URL"},
		"database that is away":  {"DATABASE_URL=postgres://u:hunter2@127.0.0.1:1/db", "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			output, err := command(t, []string{"DATABASE_URL=postgres://127.0.0.1:1/none", c.env}).CombinedOutput()
			if !errors.As(err, new(*exec.ExitError)) {
				t.Fatalf("the server runs, or did not start: %v", err)
			}
			if !strings.Contains(string(output), c.says) || strings.Contains(string(output), "hunter2") {
				t.Errorf("it says:\n%s", output)
			}
		})
	}
}

func TestHelp_NamesEveryVariable(t *testing.T) {
	t.Parallel()
	output, err := command(t, nil, "serve", "--help").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"DATABASE_URL", "MIGRATION_DATABASE_URL", "LISTEN_ADDR", "DATA_DIR", "IDEMPOTENCY_TTL", "IDEMPOTENCY_RETENTION",
		"IDEMPOTENCY_WAIT", "IDEMPOTENCY_BUDGET", "IDEMPOTENCY_GROUP_BY", "DRAIN_TIMEOUT", "ALLOW_ANONYMOUS", "MAX_BODY_BYTES", "LOG_LEVEL", "LOG_FORMAT",
	} {
		if !strings.Contains(string(output), "$"+name) {
			t.Errorf("--help does not name %s", name)
		}
	}
	for _, value := range []string{"127.0.0.1:8080", "24h", "72h", "5s", "10s", "15s", "1048576"} {
		if !strings.Contains(string(output), value) {
			t.Errorf("--help does not name the default %s", value)
		}
	}
}

func TestEmbedded_KeepsItsDataAndEndsWithTheServer(t *testing.T) {
	t.Parallel()
	parent, err := os.MkdirTemp("", "onceql-data-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(parent) })
	// For root it is another user that keeps the data in there.
	if err := os.Chmod(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(parent, "data")
	start := func() *server {
		s := launch(t, "DATA_DIR="+dir)
		s.awaitURL()
		return s
	}
	s := start()
	wantStatus(t, s.send(create("k", "Apollo")), "EXECUTED")
	if !strings.Contains(s.stdout.String(), dir) {
		t.Errorf("the start does not name the data directory:\n%s", s.stdout)
	}
	second := launch(t, "DATA_DIR="+dir)
	if code := second.wait(); code == 0 || !strings.Contains(second.stderr.String(), "in use") {
		t.Errorf("a second server on the directory ends with %d:\n%s", code, second.stderr)
	}
	s.kill()
	s = start()
	wantStatus(t, s.send(create("k", "Apollo")), "REPLAYED")
	s.terminate()
	if code := s.wait(); code != 0 {
		t.Errorf("exit code %d, want 0:\n%s", code, s.stderr)
	}
	// Nothing of it is left that would keep the next one out.
	wantStatus(t, start().send(create("k", "Apollo")), "REPLAYED")
}
