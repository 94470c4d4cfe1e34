package idempotency_test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// A note is what the tests' effect makes: one row in notes.
type note struct {
	ID   int    `json:"id"`
	Text string `json:"text"`
}

type outcome = idempotency.Outcome[note]

type effect = func(context.Context, pgx.Tx) (note, error)

// A fixture is one database with a table for the effects, and engines on it.
type fixture struct {
	t    testing.TB
	url  string
	pool *pgxpool.Pool
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	return fixtureAt(t, pgtest.URL(t))
}

func fixtureAt(t testing.TB, url string) *fixture {
	t.Helper()
	f := &fixture{t: t, url: url}
	f.pool = f.open(url, 10)
	f.exec(`create table if not exists notes (id serial primary key, text text not null)`)
	return f
}

func (f *fixture) open(url string, maxConns int32) *pgxpool.Pool {
	f.t.Helper()
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		f.t.Fatal(err)
	}
	config.MaxConns = maxConns
	pool, err := pgxpool.NewWithConfig(f.t.Context(), config)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(pool.Close)
	return pool
}

// engine returns an engine on a pool of its own, as another process would have,
// which does not purge by itself.
func (f *fixture) engine(config idempotency.Config) *idempotency.Engine {
	f.t.Helper()
	// Too few connections for workers in reserve.
	return f.engineOn(f.open(f.url, int32(max(7, 2*config.Workers+3, config.Workers+config.Batches+3))), config)
}

func (f *fixture) engineOn(pool *pgxpool.Pool, config idempotency.Config) *idempotency.Engine {
	f.t.Helper()
	if config.PurgeEvery == 0 {
		config.PurgeEvery = -1
	}
	if batched {
		config.Batches = cmp.Or(config.Batches, config.Workers)
		// A batch has a part of them, and the tests hold effects back.
		config.Wait, config.Budget = cmp.Or(config.Wait, time.Minute), cmp.Or(config.Budget, time.Minute)
	}
	engine := idempotency.New(pool, config)
	f.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := engine.Close(ctx); err != nil {
			f.t.Errorf("closing the engine: %v", err)
		}
	})
	return engine
}

func (f *fixture) exec(sql string, args ...any) {
	f.t.Helper()
	if _, err := f.pool.Exec(f.t.Context(), sql, args...); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) count(sql string, args ...any) int {
	f.t.Helper()
	var n int
	if err := f.pool.QueryRow(f.t.Context(), sql, args...).Scan(&n); err != nil {
		f.t.Fatal(err)
	}
	return n
}

// effects checks how many effects and how many keys there are.
func (f *fixture) effects(want int) {
	f.t.Helper()
	if notes := f.count(`select count(*) from notes`); notes != want {
		f.t.Errorf("%d effects, want %d", notes, want)
	}
	if keys := f.count(`select count(*) from idempotency_keys`); keys != want {
		f.t.Errorf("%d keys, want %d", keys, want)
	}
}

// write is the plain effect: it inserts a note with the text.
func write(text string) effect {
	return func(ctx context.Context, tx pgx.Tx) (note, error) {
		n := note{Text: text}
		err := tx.QueryRow(ctx, `insert into notes (text) values ($1) returning id`, text).Scan(&n.ID)
		return n, err
	}
}

// The trace of every call.
const traceID, spanID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"

// call is a call of the operation "write" whose payload is the text.
func call(key, text string) idempotency.Call {
	return idempotency.Call{
		Scope:       "tenant",
		Key:         key,
		Operation:   "write",
		RequestID:   "request of " + text,
		TraceID:     traceID,
		SpanID:      spanID,
		Fingerprint: fingerprint(text),
	}
}

func fingerprint(text string) func(int16) ([32]byte, bool) {
	return func(version int16) ([32]byte, bool) { return sha256.Sum256([]byte(text)), version == 1 }
}

// do writes the text under the key.
func do(ctx context.Context, engine *idempotency.Engine, key, text string) (outcome, error) {
	return run(ctx, engine, call(key, text), write(text))
}

func mustDo(t testing.TB, engine *idempotency.Engine, key, text string) outcome {
	t.Helper()
	o, err := do(t.Context(), engine, key, text)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func wantError(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

// A gate holds effects back until it is opened, and tells when one has come.
type gate struct{ entered, open chan struct{} }

func newGate() *gate { return &gate{entered: make(chan struct{}, 100), open: make(chan struct{})} }

func (g *gate) before(effect effect) effect {
	return func(ctx context.Context, tx pgx.Tx) (note, error) {
		g.entered <- struct{}{}
		select {
		case <-g.open:
		case <-ctx.Done():
			return note{}, ctx.Err()
		}
		return effect(ctx, tx)
	}
}

// A reply is what a call in a goroutine came to.
type reply struct {
	outcome outcome
	err     error
}

func start(ctx context.Context, engine *idempotency.Engine, call idempotency.Call, effect effect) <-chan reply {
	replies := make(chan reply, 1)
	go func() {
		o, err := run(ctx, engine, call, effect)
		replies <- reply{o, err}
	}()
	return replies
}

// waiting returns once n callers of the key wait in the engine.
func waiting(t testing.TB, engine *idempotency.Engine, key string, n int) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for engine.WaitingFor("tenant", key) != n {
		if time.Now().After(deadline) {
			t.Fatalf("%d callers wait, want %d", engine.WaitingFor("tenant", key), n)
		}
		time.Sleep(time.Millisecond)
	}
}

// queued returns once n calls wait for a worker.
func queued(t testing.TB, engine *idempotency.Engine, n int) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for engine.Stats().Queued != n {
		if time.Now().After(deadline) {
			t.Fatalf("%d calls are queued, want %d", engine.Stats().Queued, n)
		}
		time.Sleep(time.Millisecond)
	}
}

// sqlState is Postgres's code of the error, or nothing.
func sqlState(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Code
	}
	return ""
}
