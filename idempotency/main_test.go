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

// A world is one database with a table for the effects, and engines on it.
type world struct {
	t    testing.TB
	url  string
	pool *pgxpool.Pool
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return worldAt(t, pgtest.URL(t))
}

func worldAt(t testing.TB, url string) *world {
	t.Helper()
	w := &world{t: t, url: url}
	w.pool = w.open(url, 10)
	w.exec(`create table if not exists notes (id serial primary key, text text not null)`)
	return w
}

func (w *world) open(url string, maxConns int32) *pgxpool.Pool {
	w.t.Helper()
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		w.t.Fatal(err)
	}
	config.MaxConns = maxConns
	pool, err := pgxpool.NewWithConfig(w.t.Context(), config)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(pool.Close)
	return pool
}

// engine returns an engine on a pool of its own, as another process would have,
// which does not purge by itself.
func (w *world) engine(config idempotency.Config) *idempotency.Engine {
	w.t.Helper()
	// Too few connections for workers in reserve.
	return w.engineOn(w.open(w.url, int32(max(7, 2*config.Workers+3, config.Workers+config.Batches+3))), config)
}

func (w *world) engineOn(pool *pgxpool.Pool, config idempotency.Config) *idempotency.Engine {
	w.t.Helper()
	if config.PurgeEvery == 0 {
		config.PurgeEvery = -1
	}
	if inGroups {
		config.Batches = cmp.Or(config.Batches, config.Workers)
		// A batch has a part of them, and the tests hold effects back.
		config.Wait, config.Budget = cmp.Or(config.Wait, time.Minute), cmp.Or(config.Budget, time.Minute)
	}
	engine := idempotency.New(pool, config)
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := engine.Close(ctx); err != nil {
			w.t.Errorf("closing the engine: %v", err)
		}
	})
	return engine
}

func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	if _, err := w.pool.Exec(w.t.Context(), sql, args...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) count(sql string, args ...any) int {
	w.t.Helper()
	var n int
	if err := w.pool.QueryRow(w.t.Context(), sql, args...).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// effects checks how many effects and how many keys there are.
func (w *world) effects(want int) {
	w.t.Helper()
	if notes := w.count(`select count(*) from notes`); notes != want {
		w.t.Errorf("%d effects, want %d", notes, want)
	}
	if keys := w.count(`select count(*) from idempotency_keys`); keys != want {
		w.t.Errorf("%d keys, want %d", keys, want)
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

// call is a call of the operation "write" whose payload is the text.
func call(key, text string) idempotency.Call {
	return idempotency.Call{
		Scope:       "tenant",
		Key:         key,
		Operation:   "write",
		RequestID:   "request of " + text,
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

// queued returns once n flights wait for a worker.
func queued(t testing.TB, engine *idempotency.Engine, n int) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for engine.Stats().Queued != n {
		if time.Now().After(deadline) {
			t.Fatalf("%d flights are queued, want %d", engine.Stats().Queued, n)
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
