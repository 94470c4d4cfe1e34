package fidelity_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/idempotency/internal/store"
)

// A session is one caller of the store, with a connection of its own.
type session struct {
	number int
	store  *store.Store
	pool   *pgxpool.Pool
	// let lets what waits at the client go on; opened lets everything.
	let    chan struct{}
	opened chan struct{}
	// news tells that the state has changed.
	news chan struct{}

	// conn is its connection.
	conn *pgconn.PgConn

	mu sync.Mutex
	// called says that a call of the store is under way; held, that it has something to
	// send.
	called, held bool
	// canceled says that what it waits for is canceled.
	canceled bool
	lines    []line
	wires    []*wire

	// These are the scheduler's, between calls.
	tx   *store.Tx
	keys []store.Key
	// failed says that the transaction does nothing more until it is rolled back.
	failed bool
	// short says that waits for locks time out soon.
	short bool
	name  string
	trips int
	// oldest is what the session's last purge returned.
	oldest *time.Time
}

// newSession returns a session with connections as the configuration has them.
func newSession(t testing.TB, number int, config *pgxpool.Config, mode pgx.QueryExecMode) *session {
	t.Helper()
	s := &session{
		number: number, let: make(chan struct{}), opened: make(chan struct{}), news: make(chan struct{}, 1),
	}
	config.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		s.conn = conn.PgConn()
		return nil
	}
	dial := config.ConnConfig.DialFunc
	config.MaxConns = 1
	// By the clock.
	config.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false }
	config.ConnConfig.DefaultQueryExecMode = mode
	config.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		w := &wire{Conn: conn, session: s, columns: make(map[string][]pgproto3.FieldDescription)}
		s.mu.Lock()
		s.wires = append(s.wires, w)
		s.mu.Unlock()
		return w, nil
	}
	var err error
	if s.pool, err = pgxpool.NewWithConfig(context.Background(), config); err != nil {
		t.Fatal(err)
	}
	s.store = store.New(s.pool)
	return s
}

// call begins a call of the store. What it returns is its result in words.
func (s *session) call(name string, call func(context.Context) string) {
	s.name, s.trips = name, 0
	s.mu.Lock()
	s.called = true
	s.mu.Unlock()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		result := call(ctx)
		s.mu.Lock()
		s.called = false
		s.lines = append(s.lines, line{text: "= " + result})
		s.mu.Unlock()
		s.tell()
	}()
}

// hold holds what a call sends back until the scheduler lets it go.
func (s *session) hold() {
	s.mu.Lock()
	s.held = true
	s.mu.Unlock()
	s.tell()
	select {
	case <-s.let:
	case <-s.opened:
	}
}

// release lets what is held back go.
func (s *session) release() {
	s.trips++
	s.mu.Lock()
	s.held = false
	s.mu.Unlock()
	s.let <- struct{}{}
}

func (s *session) cancels(canceled bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.canceled = canceled
}

func (s *session) tell() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// waits says whether a call waits for the server, or runs.
func (s *session) waits() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.called && !s.held
}

// idle says whether no call is under way.
func (s *session) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.called
}

// take returns what was recorded since it was asked last.
func (s *session) take() []line {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := s.lines
	s.lines = nil
	return lines
}

// connections returns the connections that the session has, and those that it has closed,
// as far as they were ready.
func (s *session) connections() (open, closed []*wire) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.wires {
		switch {
		case !w.ready:
		case w.closed:
			closed = append(closed, w)
		default:
			open = append(open, w)
		}
	}
	return open, closed
}

// forget forgets connections that are of no interest any more.
func (s *session) forget(over func(*wire) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wires = slices.DeleteFunc(s.wires, func(w *wire) bool { return w.ready && over(w) })
}

// cut ends the session's connection without a word to the server, and says whether there
// was one.
func (s *session) cut() bool {
	open, _ := s.connections()
	for _, w := range open {
		w.short = s.short
		_ = w.Close()
	}
	return len(open) > 0
}

// close ends the session, whatever it does.
func (s *session) close() {
	close(s.opened)
	s.mu.Lock()
	wires := s.wires
	s.mu.Unlock()
	for _, w := range wires {
		_ = w.Close()
	}
	for !s.idle() {
		<-s.news
	}
	if s.tx != nil {
		s.tx.End(context.Background())
	}
	s.pool.Close()
}

// of describes how a call of the store ended.
func of(failure *store.Failure, rest ...any) string {
	if failure == nil {
		return fmt.Sprint(append([]any{"ok "}, rest...)...)
	}
	return fmt.Sprintf("failure of %d", failure.Owner)
}
