package idempotency_test

import (
	"context"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/idempotency"
)

func TestConfig_InvalidOnesAreRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for name, test := range map[string]struct {
		config idempotency.Config
		says   string
	}{
		"negative TTL":                  {idempotency.Config{TTL: -1}, "negative"},
		"negative retention":            {idempotency.Config{Retention: -1}, "negative"},
		"negative wait":                 {idempotency.Config{Wait: -1}, "negative"},
		"negative budget":               {idempotency.Config{Budget: -1}, "negative"},
		"negative workers":              {idempotency.Config{Workers: -1}, "negative"},
		"negative queue":                {idempotency.Config{Queue: -1}, "negative"},
		"negative version":              {idempotency.Config{FingerprintVersion: -1}, "negative"},
		"retention below TTL":           {idempotency.Config{TTL: 2 * time.Hour, Retention: time.Hour}, "shorter"},
		"retention below default TTL":   {idempotency.Config{Retention: 24*time.Hour - 1}, "shorter"},
		"budget below a millisecond":    {idempotency.Config{Budget: time.Millisecond - 1}, "shorter"},
		"budget beyond Postgres's most": {idempotency.Config{Budget: (math.MaxInt32 + 1) * time.Millisecond}, "longer"},
	} {
		err := test.config.Validate()
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: error %v, want one that says %q", name, err, test.says)
		}
		if !panics(func() { idempotency.New(f.pool, test.config) }) {
			t.Errorf("%s: New took it", name)
		}
	}
}

func panics(f func()) (panicked bool) {
	defer func() { panicked = recover() != nil }()
	f()
	return false
}

func TestConfig_UnusualOnesWork(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]idempotency.Config{
		"zero":            {},
		"TTL alone":       {TTL: 1000 * time.Hour},
		"equal times":     {TTL: time.Hour, Retention: time.Hour},
		"the most budget": {Budget: math.MaxInt32 * time.Millisecond},
		"one of each":     {Workers: 1, Queue: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := config.Validate(); err != nil {
				t.Fatal(err)
			}
			f := newFixture(t)
			engine := idempotency.New(f.pool, config)
			defer closed(t, engine)
			if first, again := mustDo(t, engine, "k", "a"), mustDo(t, engine, "k", "a"); first.Replayed || !again.Replayed {
				t.Errorf("outcomes %+v and %+v", first, again)
			}
		})
	}
}

func TestConfig_PoolOfOneConnectionIsEnough(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engineOn(f.open(f.url, 1), idempotency.Config{})
	mustDo(t, engine, "k", "a")
	if o := mustDo(t, engine, "k", "a"); !o.Replayed {
		t.Errorf("outcome %+v, want a replay", o)
	}
}

// Unless the configuration says otherwise, a batch that is smaller than those under way
// waits for two milliseconds.
func TestConfig_LetsSmallBatchesWaitByDefault(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{Batches: 3, Wait: testTimeout})
	gate := newGate()
	batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), func(ctx context.Context, tx pgx.Tx, items []*noteItem) error {
		gate.entered <- struct{}{}
		<-gate.open
		return writes(ctx, tx, items)
	})
	var callers sync.WaitGroup
	send := func(scope string) {
		callers.Go(func() {
			o, err := batch.Do(t.Context(), inScope(scope, "k", scope), scope)
			executed(t, reply{o, err})
		})
	}
	for _, scope := range []string{"1", "2"} { // As many calls as are under way begin at once.
		send(scope)
		gate.arrived(t)
	}
	before := engine.Stats().BatchedWaits.Total
	send("3")
	gate.arrived(t)
	if waited := engine.Stats().BatchedWaits.Total - before; waited < 2*time.Millisecond {
		t.Errorf("a batch of one beside two waited for %v", waited)
	}
	close(gate.open)
	callers.Wait()
	f.effects(3)
}

func TestConfig_DecidesHowManyTransactionsRunSideBySide(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{Workers: 4}) // One scope has three quarters.
	gate := newGate()
	var calls []<-chan reply
	for _, key := range []string{"1", "2", "3", "4"} {
		calls = append(calls, start(t.Context(), engine, call(key, "a"), gate.before(write("a"))))
		waiting(t, engine, key, 1)
	}
	for range 3 {
		gate.arrived(t)
	}
	select {
	case <-gate.entered:
		t.Error("a fourth effect of one scope runs on four workers")
	default:
	}
	close(gate.open)
	for _, replies := range calls {
		if _, err := replied(t, replies); err != nil {
			t.Error(err)
		}
	}
}

// The settings of the transaction are the engine's, whatever the database's are,
// and end with it.
func TestConfig_ReachesTheTransaction(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	config, err := pgxpool.ParseConfig(f.url)
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 1
	for name, value := range map[string]string{
		"default_transaction_isolation": "serializable",
		"default_transaction_read_only": "on",
		"statement_timeout":             "7min",
	} {
		config.ConnConfig.RuntimeParams[name] = value
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	engine := f.engineOn(pool, idempotency.Config{Budget: 12_345 * time.Millisecond})

	names := []string{
		"transaction_isolation", "transaction_read_only",
		"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout",
	}
	type settings map[string]string
	read := func(ctx context.Context, q interface {
		QueryRow(context.Context, string, ...any) pgx.Row
	},
	) (settings, error) {
		s := settings{}
		for _, name := range names {
			var value string
			if err := q.QueryRow(ctx, `select current_setting($1)`, name).Scan(&value); err != nil {
				return nil, err
			}
			s[name] = value
		}
		return s, nil
	}
	within, err := run(t.Context(), engine, call("k", "a"), func(ctx context.Context, tx pgx.Tx) (settings, error) {
		return read(ctx, tx)
	})
	if err != nil {
		t.Fatal(err)
	}
	// Postgres ends a statement a little before the budget; a batch has less.
	statementTimeout, lockTimeout, idleTimeout := "11110ms", "11110ms", "12345ms"
	if batched {
		statementTimeout, lockTimeout, idleTimeout = "1234ms", "50ms", "2500ms"
	}
	if diff := cmp.Diff(settings{
		"transaction_isolation":               "read committed",
		"transaction_read_only":               "off",
		"statement_timeout":                   statementTimeout,
		"lock_timeout":                        lockTimeout,
		"idle_in_transaction_session_timeout": idleTimeout,
	}, within.Value); diff != "" {
		t.Errorf("settings of the transaction (-want +got):\n%s", diff)
	}
	after, err := read(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(settings{
		"transaction_isolation":               "serializable",
		"transaction_read_only":               "on",
		"statement_timeout":                   "7min",
		"lock_timeout":                        "0",
		"idle_in_transaction_session_timeout": "0",
	}, after); diff != "" {
		t.Errorf("settings of the connection afterwards (-want +got):\n%s", diff)
	}
}

// Poolers that do not carry prepared statements over ask for another mode.
func TestDo_WorksInEveryExecMode(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		engine := f.engineOn(f.open(f.url+"&default_query_exec_mode="+mode, 4), idempotency.Config{})
		first, err := do(t.Context(), engine, mode, "a")
		if err != nil {
			t.Errorf("%s: %v", mode, err)
			continue
		}
		again, err := do(t.Context(), engine, mode, "a")
		if err != nil {
			t.Errorf("%s: the replay: %v", mode, err)
			continue
		}
		first.Replayed = true
		if diff := cmp.Diff(first, again); diff != "" {
			t.Errorf("%s: the replay differs (-first +replay):\n%s", mode, diff)
		}
		if removed, err := engine.Forget(t.Context(), "tenant", mode); err != nil || !removed {
			t.Errorf("%s: Forget: %t, %v", mode, removed, err)
		}
		if _, err := engine.Purge(t.Context()); err != nil {
			t.Errorf("%s: Purge: %v", mode, err)
		}
		if _, _, err := engine.Lookup(t.Context(), "tenant", mode); err != nil {
			t.Errorf("%s: Lookup: %v", mode, err)
		}
	}
}
