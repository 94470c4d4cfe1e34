package idempotency_test

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/internal/pgtest"
)

// A primary is a server whose commits may have to wait for a standby, and there
// is none.
type primary struct{ *fixture }

func newPrimary(t testing.TB) primary {
	t.Helper()
	return primary{fixtureAt(t, pgtest.NewServer(t).URL())}
}

// standby says whether commits have to wait, and returns once they do, or no
// longer do. A session that shows the setting is not enough: commits wait once
// another process of the server has read it too.
func (p primary) standby(names string) {
	p.t.Helper()
	p.exec(`alter system set synchronous_standby_names = '` + names + `'`)
	p.exec(`select pg_reload_conf()`)
	eventually(p.t, "the setting holds", func() bool {
		ctx, cancel := context.WithTimeout(p.t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err := p.pool.Exec(ctx, `select pg_logical_emit_message(true, 'test', '')`)
		return (err != nil) == (names != "")
	})
	eventually(p.t, "no commit of the test waits", func() bool { return p.held() == 0 })
}

// confirm is a standby of that name, as far as the primary can tell: it confirms
// whatever it is sent, until the test ends.
// https://www.postgresql.org/docs/current/protocol-replication.html
func (p primary) confirm(name string) {
	p.t.Helper()
	config, err := pgconn.ParseConfig(p.url)
	if err != nil {
		p.t.Fatal(err)
	}
	config.RuntimeParams["replication"], config.RuntimeParams["application_name"] = "true", name
	ctx, cancel := context.WithCancel(context.Background())
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		p.t.Fatal(err)
	}
	system, err := conn.Exec(ctx, "IDENTIFY_SYSTEM").ReadAll()
	if err != nil {
		p.t.Fatal(err)
	}
	conn.Frontend().SendQuery(&pgproto3.Query{String: "START_REPLICATION " + string(system[0].Rows[0][2])})
	if err := conn.Frontend().Flush(); err != nil {
		p.t.Fatal(err)
	}
	var ended sync.WaitGroup
	ended.Go(func() {
		defer func() { _ = conn.Close(context.Background()) }()
		for ctx.Err() == nil {
			message, err := conn.ReceiveMessage(ctx)
			if err != nil {
				return
			}
			data, ok := message.(*pgproto3.CopyData)
			if !ok {
				continue
			}
			// Of the log as it is sent, and of a sign of life, the position comes first.
			at := binary.BigEndian.Uint64(data.Data[1:])
			if data.Data[0] == 'w' {
				at += uint64(len(data.Data) - 25)
			}
			status := []byte{'r'}
			for _, n := range []uint64{at, at, at, 0} {
				status = binary.BigEndian.AppendUint64(status, n)
			}
			conn.Frontend().Send(&pgproto3.CopyData{Data: append(status, 0)})
			if conn.Frontend().Flush() != nil {
				return
			}
		}
	})
	p.t.Cleanup(func() {
		cancel()
		ended.Wait()
	})
}

// held is how many commits wait for the standby.
func (p primary) held() int {
	p.t.Helper()
	return p.count(`select count(*) from pg_stat_activity where wait_event = 'SyncRep'`)
}

// cancelWait ends the wait of the one commit that is held, as an operator would.
func (p primary) cancelWait(replies <-chan reply) {
	p.t.Helper()
	pid := 0
	eventually(p.t, "the commit waits for the standby", func() bool {
		if len(replies) > 0 {
			p.t.Fatalf("a call was answered while the standby is away: %+v", <-replies)
		}
		pid = p.count(`select coalesce(max(pid), 0) from pg_stat_activity where wait_event = 'SyncRep'`)
		return pid != 0
	})
	p.exec(`select pg_cancel_backend($1)`, pid)
}

// A standby that confirms nothing: neither a first call nor a replay may be
// acknowledged, because a failover would lose it.
func TestStandby_ThatIsAwayKeepsAnswersBack(t *testing.T) {
	t.Parallel()
	p := newPrimary(t)
	config := idempotency.Config{Budget: time.Second, Wait: 1500 * time.Millisecond}
	mustDo(t, p.engine(config), "before", "a")
	p.standby("nobody")
	engine := p.engine(config)
	for _, key := range []string{"before", "k", "before", "k"} {
		_, err := do(t.Context(), engine, key, "a")
		wantError(t, err, idempotency.ErrUnavailable)
	}
	p.standby("")
	for _, key := range []string{"before", "k"} {
		if o, err := insist(t, engine, call(key, "a"), never(t)); err != nil || !o.Replayed {
			t.Errorf("%s, once no standby is needed: %+v, %v; want a replay", key, o, err)
		}
	}
	p.effects(2)
}

// A role whose commits do not wait for a standby still has nothing acknowledged that only
// this server has: not what it executes, and not what was there already.
func TestStandby_ThatTheRoleDoesNotWaitForKeepsAnswersBack(t *testing.T) {
	t.Parallel()
	p := newPrimary(t)
	config := idempotency.Config{Budget: time.Second, Wait: 1500 * time.Millisecond}
	mustDo(t, p.engine(config), "before", "a")
	p.standby("nobody")
	for _, weak := range []string{"off", "local"} {
		engine := p.engineOn(p.open(p.url+"&synchronous_commit="+weak, 6), config)
		for _, key := range []string{"before", "k"} {
			o, err := do(t.Context(), engine, key, "a")
			if !errors.Is(err, idempotency.ErrUnavailable) {
				t.Errorf("%s, with %s: %+v, %v; want ErrUnavailable", key, weak, o, err)
			}
		}
	}
	p.standby("")
	p.effects(2)
}

// A COMMIT whose wait is cancelled is answered COMMIT, with a warning that no
// standby may have it. That is no acknowledgement, of a first call or a replay.
func TestStandby_CancelledWaitAcknowledgesNothing(t *testing.T) {
	t.Parallel()
	p := newPrimary(t)
	config := idempotency.Config{Budget: 30 * time.Second, Wait: 1500 * time.Millisecond}
	mustDo(t, p.engine(config), "before", "a")
	p.standby("nobody")
	engine := p.engine(config)
	for _, test := range []struct {
		key      string
		replayed bool
	}{{"before", true}, {"k", false}} {
		replies := start(t.Context(), engine, call(test.key, "a"), write("a"))
		eventually(t, "the call is answered", func() bool {
			p.exec(`select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'`)
			return len(replies) > 0
		})
		_, err := replied(t, replies)
		wantError(t, err, idempotency.ErrUnavailable)
		// The wait is cancelled once, and then the standby is given up.
		replies = start(t.Context(), engine, call(test.key, "a"), never(t))
		p.cancelWait(replies)
		p.exec(`alter system set synchronous_standby_names = ''`)
		p.exec(`select pg_reload_conf()`)
		if o, err := replied(t, replies); err != nil || !o.Replayed {
			t.Errorf("%s: %+v, %v; want a replay", test.key, o, err)
		}
		p.standby("nobody")
	}

	// The one that executes says so, also when its own commit was cut off first.
	replies := start(t.Context(), engine, call("executes", "a"), write("a"))
	p.cancelWait(replies)
	p.exec(`alter system set synchronous_standby_names = ''`)
	p.exec(`select pg_reload_conf()`)
	if o, err := replied(t, replies); err != nil || o.Replayed {
		t.Errorf("executes: %+v, %v; want it executed", o, err)
	}
	p.effects(3)
}

// A pool may be set up to cancel at a deadline instead of closing: then it is the
// engine's own budget that cuts the wait, and Postgres answers COMMIT.
func TestStandby_PoolThatCancelsAcknowledgesNothing(t *testing.T) {
	t.Parallel()
	p := newPrimary(t)
	mustDo(t, p.engine(idempotency.Config{}), "before", "a")
	p.standby("nobody")
	config, err := pgxpool.ParseConfig(p.url)
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: testTimeout}
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	engine := p.engineOn(pool, idempotency.Config{Budget: time.Second, Wait: 1500 * time.Millisecond})
	for _, key := range []string{"before", "k"} {
		o, err := do(t.Context(), engine, key, "a")
		if !errors.Is(err, idempotency.ErrUnavailable) {
			t.Errorf("%s: %+v, %v; want ErrUnavailable", key, o, err)
		}
	}
	p.standby("")
	for _, key := range []string{"before", "k"} {
		if o, err := insist(t, engine, call(key, "a"), never(t)); err != nil || !o.Replayed {
			t.Errorf("%s, once no standby is needed: %+v, %v; want a replay", key, o, err)
		}
	}
	p.effects(2)
}

// Where commits may have to wait for a standby, what a batch replays is resolved
// together with what it executes: all of it is found again after a COMMIT whose
// reply was lost, whatever scopes it is of.
func TestStandby_MixedBatchIsResolvedAfterALostReply(t *testing.T) {
	t.Parallel()
	p := newPrimary(t)
	mustDoIn(t, p.engine(idempotency.Config{}), "b", "0")
	p.standby("away")
	defer p.standby("")
	proxy, url := newProxy(t, p.url)
	p.confirm("away")
	engine := p.engineOn(p.open(url, 4), idempotency.Config{Batches: 1})
	var runs atomic.Int32
	batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), func(ctx context.Context, tx pgx.Tx, items []*noteItem) error {
		runs.Add(1)
		return writes(ctx, tx, items)
	})
	release := hold(t, engine, 1)
	defer release()
	var callers sync.WaitGroup
	for _, c := range []struct {
		scope, key string
		replayed   bool
	}{{"a", "1", false}, {"b", "0", true}, {"b", "2", false}} {
		callers.Go(func() {
			o, err := batch.Do(t.Context(), inScope(c.scope, c.key, c.scope+c.key), c.scope+c.key)
			if err != nil || o.Replayed != c.replayed {
				t.Errorf("%s%s: %+v, %v; want replayed %t", c.scope, c.key, o, err, c.replayed)
			}
		})
	}
	queued(t, engine, 3)
	met := proxy.arm(replyLost)
	release()
	callers.Wait()
	<-met
	if n := runs.Load(); n != 1 {
		t.Errorf("the effect ran %d times, want 1", n)
	}
}

func mustDoIn(t testing.TB, engine *idempotency.Engine, scope, key string) {
	t.Helper()
	if _, err := run(t.Context(), engine, inScope(scope, key, scope+key), write(scope+key)); err != nil {
		t.Fatal(err)
	}
}
