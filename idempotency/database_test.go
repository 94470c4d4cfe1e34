package idempotency_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/internal/pgtest"
)

// says checks that Check finds the fault and names it.
func says(t testing.TB, engine *idempotency.Engine, want ...string) {
	t.Helper()
	err := engine.Check(t.Context())
	wantError(t, err, idempotency.ErrTable)
	for _, text := range want {
		if err != nil && !strings.Contains(err.Error(), text) {
			t.Errorf("error %q, want one that names %q", err, text)
		}
	}
}

func TestCheck_NamesWhatTheFirstCallWouldFailOver(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		sql  string
		want []string
	}{
		"no table":       {`drop table idempotency_keys`, []string{"idempotency_keys", "Schema"}},
		"another schema": {`create schema other; alter table idempotency_keys set schema other`, []string{"idempotency_keys", "search_path"}},
		"no columns":     {`alter table idempotency_keys drop retained_until cascade, drop request_id`, []string{"retained_until", "request_id"}},
		"no key":         {`alter table idempotency_keys drop constraint idempotency_keys_pkey`, []string{"primary key"}},
		"another key":    {`alter table idempotency_keys drop constraint idempotency_keys_pkey, add primary key (key, scope)`, []string{"primary key", "key, scope"}},
		"no insert":      {`revoke insert on idempotency_keys from onceql_tests`, []string{"insert"}},
		"no right":       {`revoke all on idempotency_keys from onceql_tests`, []string{"select", "insert", "delete"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			engine := f.engineOn(f.open(f.asRole(), 4), idempotency.Config{})
			if err := engine.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			f.exec(test.sql)
			says(t, engine, test.want...)
			_, err := do(t.Context(), engine, "k", "a")
			if name != "no key" && name != "another key" {
				wantError(t, err, idempotency.ErrTable)
			}
		})
	}
}

func TestCheck_NamesAServerThatDoesNotFit(t *testing.T) {
	t.Parallel()
	postgres := pgtest.NewServer(t)
	f := fixtureAt(t, postgres.URL())
	f.exec(`create database latin encoding 'LATIN1' locale 'C' template template0`)
	address, _, _ := strings.Cut(postgres.URL(), "?")
	latin := f.open(address[:strings.LastIndex(address, "/")]+"/latin?sslmode=disable", 4)
	if _, err := latin.Exec(t.Context(), idempotency.Schema); err != nil {
		t.Fatal(err)
	}
	says(t, f.engineOn(latin, idempotency.Config{}), "LATIN1", "UTF8")
	latin.Close()

	engine := f.engine(idempotency.Config{Wait: 100 * time.Millisecond})
	if err := engine.Check(t.Context()); err != nil {
		t.Error(err)
	}
	postgres.StandBy(t)
	eventually(t, "the standby answers", func() bool {
		err := engine.Check(t.Context())
		return errors.Is(err, idempotency.ErrUnavailable) && strings.Contains(err.Error(), "standby")
	})
	_, err := do(t.Context(), engine, "k", "a")
	wantError(t, err, idempotency.ErrUnavailable)
	postgres.Stop(t)
	err = engine.Check(t.Context())
	wantError(t, err, idempotency.ErrUnavailable)
	postgres.Start(t)
}

// A table that moves while servers run is found where it is now.
func TestTable_ThatMovedIsFoundAgain(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"to another schema":      `alter table idempotency_keys set schema other`,
		"with its schema's name": `alter schema public rename to before; alter schema other rename to public; alter schema before rename to other`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.exec(`create schema other; drop table notes`)
			engine := f.engineOn(f.open(f.url+"&search_path=public,other", 4), idempotency.Config{})
			nothing := func(context.Context, pgx.Tx) (note, error) { return note{}, nil }
			if _, err := run(t.Context(), engine, call("k", "a"), nothing); err != nil {
				t.Fatal(err)
			}
			f.exec(sql)
			_, err := run(t.Context(), engine, call("k", "a"), nothing)
			wantError(t, err, idempotency.ErrTable)
			if o, err := run(t.Context(), engine, call("k", "a"), nothing); err != nil || !o.Replayed {
				t.Errorf("the call sent again: %+v, %v; want a replay", o, err)
			}
			if _, err := run(t.Context(), engine, call("l", "a"), nothing); err != nil {
				t.Error(err)
			}
		})
	}
}

// After a failover the pool has connections to what is a standby now. They go, and
// nobody waits for their end.
func TestStandby_ConnectionsToItLeaveThePool(t *testing.T) {
	t.Parallel()
	standby, primary := pgtest.NewServer(t), fixtureAt(t, pgtest.NewServer(t).URL())
	parsed, err := url.Parse(primary.url)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := parsed.User.Password()
	fixtureAt(t, standby.URL()).exec(`alter role current_user password '` + password + `'`)
	standby.StandBy(t)
	proxy, address := newProxy(t, primary.url)
	proxy.lead(t, standby.URL())
	pool := primary.open(address, 10)
	engine := primary.engineOn(pool, idempotency.Config{Batches: 2})
	batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), writes)

	// As many connections as the pool takes, and all of them to the standby.
	var conns []*pgxpool.Conn
	for range 10 {
		conn, err := pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	for _, conn := range conns {
		conn.Release()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = idempotency.Do(ctx, engine, call("k", "a"), never(t))
	wantError(t, err, idempotency.ErrUnavailable)

	eventually(t, "it is given up", func() bool { return engine.Stats().InFlight == 0 })
	proxy.lead(t, primary.url)
	var callers sync.WaitGroup
	for i := range 20 {
		callers.Go(func() {
			scope := fmt.Sprint(i)
			o, err := batch.Do(t.Context(), inScope(scope, "batched", "a"), "a")
			executed(t, reply{o, err})
			o, err = idempotency.Do(t.Context(), engine, inScope(scope, "single", "a"), write("a"))
			executed(t, reply{o, err})
		})
	}
	callers.Wait()
	primary.effects(40)
}

// A database that is back within the wait was never away.
func TestServer_ThatIsBackWithinTheWaitWasNeverAway(t *testing.T) {
	t.Parallel()
	postgres := pgtest.NewServer(t)
	f := fixtureAt(t, postgres.URL())
	engine := f.engine(idempotency.Config{Batches: 1, Workers: 2, Wait: time.Minute})
	batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), writes)
	mustDo(t, engine, "before", "a")

	gate := newGate()
	cut := singly(t, engine, inScope("cut", "k", "a"), gate.before(write("a")))
	gate.arrived(t)
	postgres.Stop(t)
	close(gate.open)
	calls := []<-chan reply{cut}
	for i := range 5 {
		scope := fmt.Sprint(i)
		calls = append(calls, singly(t, engine, inScope(scope, "single", "a"), write("a")))
		answer := make(chan reply, 1)
		calls = append(calls, answer)
		go func() {
			o, err := batch.Do(t.Context(), inScope(scope, "batched", "a"), "a")
			answer <- reply{o, err}
		}()
	}
	// Who waits less hears so while it is away, and the others go on waiting.
	for _, wait := range []time.Duration{50 * time.Millisecond, 500 * time.Millisecond} {
		c := inScope("impatient", "k", "a")
		c.Limits.Wait = wait
		_, err := idempotency.Do(t.Context(), engine, c, never(t))
		wantError(t, err, idempotency.ErrUnavailable)
	}
	if !engine.Stats().Away {
		t.Error("the engine does not know that the database is away")
	}
	for _, replies := range calls {
		silent(t, replies)
	}
	postgres.Start(t)
	for _, replies := range calls {
		o, err := replied(t, replies)
		executed(t, reply{o, err})
	}
	if engine.Stats().Away {
		t.Error("the engine believes that the database is still away")
	}
	f.pool.Reset()
	f.effects(12)
}

func TestStats_TellWhatGoesOn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{Workers: 1, Batches: 1})
	batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), writes)
	if s := engine.Stats(); s != (idempotency.Stats{}) {
		t.Errorf("at the start: %+v", s)
	}
	gate := newGate()
	single := singly(t, engine, inScope("single", "k", "a"), gate.before(write("a")))
	gate.arrived(t)
	follower := singly(t, engine, inScope("single", "k", "a"), never(t))
	waits := singly(t, engine, inScope("waits", "k", "a"), write("a"))
	eventually(t, "three wait", func() bool { return engine.Stats().Waiting == 3 })
	if s := engine.Stats(); s.InFlight != 2 || s.Queued != 1 || s.QueuedSingle != 1 || s.QueuedBatched != 0 || s.Workers != 1 || s.Batches != 0 || s.Away || s.Single != 1 {
		t.Errorf("with single calls: %+v", s)
	}
	close(gate.open)
	for _, replies := range []<-chan reply{single, follower, waits} {
		if _, err := replied(t, replies); err != nil {
			t.Error(err)
		}
	}
	executed(t, together(t, engine, batch, texts(20)...)...)
	eventually(t, "all is done", func() bool { s := engine.Stats(); return s.Workers == 0 && s.Batches == 0 })
	s := engine.Stats()
	if s.InFlight != 0 || s.Waiting != 0 || s.Queued != 0 || s.Single != 2 || s.Batched != 21 || s.SingleWaits.Total <= 0 || s.BatchedWaits.Total <= 0 {
		t.Errorf("at the end: %+v", s)
	}
	if s.Sizes != [8]uint64{1, 0, 0, 0, 0, 1, 0, 0} {
		t.Errorf("sizes of batches %v, want one of 1 and one of 20", s.Sizes)
	}
	for want, waits := range map[uint64]idempotency.Waits{2: s.SingleWaits, 21: s.BatchedWaits} {
		sum := uint64(0)
		for _, n := range waits.Counts {
			sum += n
		}
		if sum != want || len(waits.Counts) != len(idempotency.WaitBounds())+1 {
			t.Errorf("the waits of %d calls: %+v", want, waits)
		}
	}
}

func TestConfig_NeedsConnectionsForItsWorkers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	pool := f.open(f.url, 4)
	if !panics(func() { idempotency.New(pool, idempotency.Config{Workers: 3, Batches: 2}) }) {
		t.Error("New took 5 workers on 4 connections")
	}
}
