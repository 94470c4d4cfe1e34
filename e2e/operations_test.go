package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onceql/onceql/internal/pgtest"
)

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
	if closed := serve(t, pgtest.URL(t), "INTROSPECTION=false").get("/schema.graphql"); closed.status != 404 {
		t.Errorf("/schema.graphql without introspection: %d", closed.status)
	}
	if !strings.Contains(s.stdout.String(), "Playground") || !strings.Contains(s.stdout.String(), "Data") {
		t.Errorf("the start does not say where everything is:\n%s", s.stdout)
	}
}
