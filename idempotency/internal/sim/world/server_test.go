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
	endings sync.WaitGroup
}

// A process is an engine and its pool.
type process struct {
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

// begin starts a process, unless one is there.
func (s *server) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		return
	}
	p := &process{}
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
		if misled() {
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

// take returns the process that serves now, which no longer does.
func (s *server) take() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.process
	s.process = nil
	return p
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
	p := s.take()
	if p == nil {
		return
	}
	p.mu.Lock()
	p.dead = true
	for _, conn := range p.conns {
		_ = conn.Close()
	}
	p.mu.Unlock()
	s.endings.Go(func() { p.end(0) })
}

// deploy ends the process as a deploy does, and starts the other build.
func (s *server) deploy() {
	p := s.take()
	if p == nil {
		return
	}
	s.endings.Go(func() {
		p.end(10 * time.Second)
		s.version = 3 - s.version
		s.begin()
	})
}

// stop ends the server for good.
func (s *server) stop() {
	s.endings.Wait()
	if p := s.take(); p != nil {
		p.end(20 * time.Second)
	}
}

// end closes the engine, which has so long to answer its callers.
func (p *process) end(grace time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if p.engine.Close(ctx) != nil {
		_ = p.engine.Close(context.Background())
	}
	p.pool.Close()
}
