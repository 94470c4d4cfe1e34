package db_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/db"
	"github.com/onceql/onceql/internal/pgtest"
)

func open(t testing.TB, url string, maxConns int32, log *slog.Logger) *pgxpool.Pool {
	t.Helper()
	cluster, err := db.NewCluster(url, log)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := cluster.Open(t.Context(), maxConns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func TestOpen_LogsNotices(t *testing.T) {
	t.Parallel()
	var output bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&output, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, attribute slog.Attr) slog.Attr {
			if attribute.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return attribute
		},
	}))
	pool := open(t, pgtest.URL(t), 1, log)
	// A COMMIT outside a transaction: Postgres warns, and says yes.
	if _, err := pool.Exec(t.Context(), "commit"); err != nil {
		t.Fatal(err)
	}
	var line map[string]any
	if err := json.Unmarshal(output.Bytes(), &line); err != nil {
		t.Fatalf("%v in %q", err, output.String())
	}
	want := map[string]any{
		"level": "WARN", "msg": "Postgres sent a notice",
		"severity": "WARNING", "code": "25P01", "message": "there is no transaction in progress",
	}
	if diff := cmp.Diff(want, line); diff != "" {
		t.Error(diff)
	}
}

func TestOpen_NamesItself(t *testing.T) {
	t.Parallel()
	address := pgtest.URL(t)
	for added, want := range map[string]string{"": "onceql", "&application_name=mine": "mine"} {
		pool := open(t, address+added, 3, slog.New(slog.DiscardHandler))
		var name string
		if err := pool.QueryRow(t.Context(), "show application_name").Scan(&name); err != nil {
			t.Fatal(err)
		}
		if name != want || pool.Config().MaxConns != 3 {
			t.Errorf("%q with %d connections, want %q with 3", name, pool.Config().MaxConns, want)
		}
	}
}

// A database that is away for the moment is no reason not to start.
func TestOpen_DoesNotConnect(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	pool := open(t, "postgres://u:s3cret@"+address+"/db?sslmode=disable", 1, slog.New(slog.DiscardHandler))
	switch err := pool.Ping(t.Context()); {
	case err == nil:
		t.Error("somebody answered")
	case strings.Contains(err.Error(), "s3cret"):
		t.Errorf("the error has the password: %v", err)
	}
}

func TestNewCluster_KeepsThePasswordOutOfItsError(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		"postgres://u:s3cret@h:notaport/db",
		"postgres://u:s3cret@h/db?sslmode=none",
		"postgres://u:s3cret@h/db?x=%zz",
		"postgres://u:s3cret%@h/db",
		"postgres://h/db?password=s3cret&sslmode=none",
		"postgres://u:s3cret@h/db?pool_max_conns=many",
		"host=h password=s3cret port=x",
		"host=h password='s3cret",
		"u:s3cret@h/db",
		"mysql://u:s3cret@h/db",
	} {
		_, err := db.NewCluster(address, slog.New(slog.DiscardHandler))
		if err == nil {
			t.Errorf("%s was taken", address)
			continue
		}
		if strings.Contains(err.Error(), "s3cret") || !strings.HasPrefix(err.Error(), "reading the database URL: ") {
			t.Errorf("%s: %v", address, err)
		}
	}
}
