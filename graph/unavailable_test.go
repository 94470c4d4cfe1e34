package graph_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/internal/pgtest"
)

func TestHandler_IsUnavailableWithoutItsDatabase(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t)
	pool, err := pgxpool.New(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	a := newAPIOn(t, pool)
	documents := []string{
		`{ projects { nodes { id } } }`,
		`{ idempotentCall(key: "k") { key } }`,
		`mutation { createProject(input: {name: "x"}, idempotencyKey: "k") { project { name } } }`,
	}
	// Connections that are open when the server stops break in another way than
	// ones that can't be opened.
	if got := a.post(t.Context(), t, documents[0], nil); got.status != http.StatusOK || len(got.Errors) > 0 {
		t.Fatalf("%d %s", got.status, got.text)
	}
	server.Stop(t)
	for _, document := range documents {
		got := a.post(t.Context(), t, document, nil)
		if got.status != http.StatusOK || got.code(t) != "UNAVAILABLE" || got.Errors[0].Extensions["retryable"] != true ||
			got.Errors[0].Extensions["retryAfterMs"] == nil || strings.Contains(got.text, "127.0.0.1") {
			t.Errorf("%s: %d %s", document, got.status, got.text)
		}
	}
	for _, line := range a.log.all() {
		if !strings.Contains(line, "level=WARN") || strings.Contains(line, "password") {
			t.Errorf("logged: %s", line)
		}
	}
	server.Start(t)
	got := a.post(t.Context(), t, documents[2], nil)
	if string(got.Data) != `{"createProject":{"project":{"name":"x"}}}` {
		t.Errorf("%d %s", got.status, got.text)
	}
}

// A proxy stands between a pool and its database, and can cut the connections.
type proxy struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: listener}
	t.Cleanup(func() {
		listener.Close()
		p.cut()
	})
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				client.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, client, server)
			p.mu.Unlock()
			go pipe(client, server)
			go pipe(server, client)
		}
	}()
	return p
}

func pipe(to, from net.Conn) {
	io.Copy(to, from)
	to.Close()
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		conn.Close()
	}
	p.conns = nil
}

func TestHandler_IsUnavailableWhenAConnectionBreaks(t *testing.T) {
	t.Parallel()
	direct := pgtest.Pool(t)
	config := direct.Config()
	proxy := newProxy(t, net.JoinHostPort(config.ConnConfig.Host, strconv.Itoa(int(config.ConnConfig.Port))))
	config.ConnConfig.Host = "127.0.0.1"
	config.ConnConfig.Port = uint16(proxy.Addr().(*net.TCPAddr).Port)
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	a := newAPIOn(t, pool)
	blocker := lockProjects(t, direct)
	answered := make(chan answer)
	go func() { answered <- a.post(t.Context(), t, `{ projects { nodes { id } } }`, nil) }()
	waitForLock(t, blocker)
	proxy.cut()
	if got := <-answered; got.code(t) != "UNAVAILABLE" || got.Errors[0].Extensions["retryable"] != true {
		t.Errorf("%d %s\n%s", got.status, got.text, a.log.all())
	}
}

// lockProjects locks the table until the test ends or the transaction does.
func lockProjects(t *testing.T, pool *pgxpool.Pool) pgx.Tx {
	t.Helper()
	blocker, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { blocker.Rollback(context.WithoutCancel(t.Context())) })
	if _, err := blocker.Exec(t.Context(), `lock table projects in access exclusive mode`); err != nil {
		t.Fatal(err)
	}
	return blocker
}

// waitForLock waits until somebody waits for the locked table.
func waitForLock(t *testing.T, blocker pgx.Tx) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		var waiting bool
		err := blocker.QueryRow(t.Context(), `select exists (select from pg_locks where not granted and relation = 'projects'::regclass)`).Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
		if waiting {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody waits for the table")
		}
	}
}

func TestHandler_IsQuietWhenTheCallerHangsUp(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	var serverLog lines
	handled := make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(handled)
		a.ServeHTTP(w, r)
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(&serverLog, nil), slog.LevelError)
	server.Start()
	defer server.Close()

	blocker := lockProjects(t, a.pool)
	ctx, hangUp := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL,
		strings.NewReader(`{"query":"mutation { createProject(input: {name: \"x\"}, idempotencyKey: \"k\") { project { name } } }"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	gone := make(chan error, 1)
	go func() {
		response, err := http.DefaultClient.Do(r)
		if err == nil {
			response.Body.Close()
		}
		gone <- err
	}()
	waitForLock(t, blocker)
	hangUp()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	<-handled
	if err := blocker.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}

	// What was begun goes on to its end.
	got := a.post(t.Context(), t, `mutation { createProject(input: {name: "x"}, idempotencyKey: "k") { project { name } } }`, nil)
	if !strings.Contains(got.text, "REPLAYED") {
		t.Errorf("%d %s", got.status, got.text)
	}
	for _, line := range append(a.log.all(), serverLog.all()...) {
		if !strings.Contains(line, "level=DEBUG") {
			t.Errorf("logged: %s", line)
		}
	}
}
