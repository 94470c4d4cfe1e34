package world_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/idempotency"
)

// A server is a place where one process after another serves.
type server struct {
	world   *world
	number  int
	version int16
	lives   int
	// misled says that its connections lead to the standby for a while, by a name that is
	// late.
	misled bool

	mu      sync.Mutex
	process *process // nil while there is none
	stopped bool
	endings sync.WaitGroup
}

// A process is an engine and its pool.
type process struct {
	world  *world
	engine *idempotency.Engine
	pool   *pgxpool.Pool
	batch  *idempotency.Batch[input, result]

	mu    sync.Mutex
	dead  bool
	conns []net.Conn
}

func newServer(w *world, number int, p serverPlan) *server {
	s := &server{world: w, number: number, version: p.version, misled: p.misled}
	s.begin()
	return s
}

// begin starts a process, unless one is there or the server is stopped.
func (s *server) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil || s.stopped {
		return
	}
	p := &process{world: s.world}
	name := fmt.Sprint("server", s.number)
	config := s.world.cluster.Pool(name)
	config.MaxConns, config.PingTimeout = 6, time.Second
	config.BeforeConnect = func(_ context.Context, config *pgx.ConnConfig) error {
		config.ConnectTimeout = s.world.cluster.Instant(config.ConnectTimeout)
		return nil
	}
	dial := config.ConnConfig.DialFunc
	misled := func() bool { return s.misled && s.world.elapsed() < trouble }
	validate := config.ConnConfig.ValidateConnect
	config.ConnConfig.ValidateConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		if misled() { // Nothing asks whether it is the primary.
			return nil
		}
		return validate(ctx, conn)
	}
	config.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		if misled() && address == "db1:5432" { // A cancel request follows its connection.
			address = "db2:5432"
		}
		return p.dial(dial(ctx, network, address))
	}
	var err error
	if p.pool, err = pgxpool.NewWithConfig(context.Background(), config); err != nil {
		panic(err)
	}
	p.engine = idempotency.New(p.pool, idempotency.Config{
		TTL: time.Hour, Retention: s.retention(), PurgeEvery: s.purgeEvery(),
		FingerprintVersion: s.version,
		Observer: func(e idempotency.Event) {
			// Of what callers hear at one moment the order is not known.
			if e.Kind == idempotency.Retried || e.Kind == idempotency.CommitUnknown {
				s.world.cluster.Note(name, fmt.Sprintf("%v, attempt %s: %v", e.Kind, e.RequestID, e.Err))
			}
		},
		Random: rand.NewPCG(s.world.plan.seed, uint64(1000*s.number+s.lives)),
	})
	p.batch = idempotency.NewBatch(p.engine, operation, idempotency.AcrossScopes(), runBatch)
	s.lives++
	s.process = p
}

// purgeEvery is never where nothing is old enough to go.
func (s *server) purgeEvery() time.Duration {
	if s.world.plan.family == ages || s.world.plan.family == mixed {
		return 700 * time.Millisecond
	}
	return -1
}

// retention differs between servers, and so between what a row says and what the server
// that purges is told.
func (s *server) retention() time.Duration { return time.Duration(2+4*s.number) * time.Hour }

// dial keeps the connection, for the process may die.
func (p *process) dial(conn net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		_ = conn.Close()
		return nil, errNoServer
	}
	p.conns = append(p.conns, conn)
	return conn, nil
}

// present returns the process that serves now.
func (s *server) present() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process
}

// end has the process that serves now, if one does, ended by how, and no longer serve.
func (s *server) end(how func(*process)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.process; p != nil {
		s.process = nil
		s.endings.Go(func() { how(p) })
	}
}

// do runs the intent, as a resolver does.
func (s *server) do(ctx context.Context, i intentPlan, attempt int) (outcome idempotency.Outcome[result], err error) {
	p := s.present()
	if p == nil {
		return outcome, errNoServer
	}
	in := input{i.scope, i.key, attempt, i.payload, i.kind}
	if i.single {
		outcome, err = idempotency.Do(ctx, p.engine, call(in), func(ctx context.Context, tx pgx.Tx) (result, error) {
			return runSingle(ctx, tx, in)
		})
	} else {
		outcome, err = p.batch.Do(ctx, call(in), in)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead { // Nobody heard its answer.
		return idempotency.Outcome[result]{}, errNoServer
	}
	return outcome, err
}

func (s *server) forget(scope, key string) (bool, error) {
	p := s.present()
	if p == nil {
		return false, errNoServer
	}
	return p.engine.Forget(context.Background(), scope, key)
}

// kill ends the process as kill -9 does: its connections are gone, and nobody hears an
// answer.
func (s *server) kill() {
	s.end(func(p *process) {
		p.die()
		p.close()
	})
}

// deploy ends the process as a deploy does, and starts the other build.
func (s *server) deploy() {
	s.end(func(p *process) {
		p.drain()
		s.upgrade()
		s.begin()
		p.close()
	})
}

// upgrade has the next process be of the other build.
func (s *server) upgrade() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version = 3 - s.version
}

// stop ends the server for good. Nothing kills it or deploys to it any more.
func (s *server) stop() {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.end(func(p *process) {
		p.drain()
		p.close()
	})
	s.endings.Wait()
}

// drain answers the callers. What takes too long ends with the process.
func (p *process) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if p.engine.Close(ctx) != nil {
		p.die()
	}
}

// die ends the process at once: its connections are gone, and nobody hears an answer.
func (p *process) die() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = true
	for _, conn := range p.conns {
		// Each by itself: what waits for several must not go on at one instant.
		p.world.after(0, func() { _ = conn.Close() })
	}
}

// close waits until nothing of the process is left.
func (p *process) close() {
	_ = p.engine.Close(context.Background())
	p.pool.Close()
}
