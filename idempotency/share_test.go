package idempotency_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

// Half of a full batch is bad, and the effect is slow: the good calls commit, and the bad
// ones hear their own error, with the settings that nobody has changed.
func TestShare_HalfOfASlowBatchIsBad(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engineOn(f.open(f.url, 20), idempotency.Config{})
	batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), func(ctx context.Context, tx pgx.Tx, items []*noteItem) error {
		if _, err := tx.Exec(ctx, `select pg_sleep(0.09)`); err != nil {
			return err
		}
		return writes(ctx, tx, items)
	})
	var callers sync.WaitGroup
	for i := range 128 {
		callers.Go(func() {
			scope, text := fmt.Sprint("tenant ", i), fmt.Sprint("text ", i)
			c := inScope(scope, "k", text)
			if i%2 == 1 {
				text = "a\x00b"
			}
			o, err := batch.Do(t.Context(), c, text)
			if i%2 == 1 && !own("22021")(err) || i%2 == 0 && (err != nil || o.Replayed) {
				t.Errorf("%q: %+v, %v", text, o, err)
			}
		})
	}
	callers.Wait()
	f.effects(64)
}

// However many slow effects a tenant has, another one's call gets through while they
// run.
func TestShare_OfATenantIsNotAllWorkers(t *testing.T) {
	t.Parallel()
	type do func(ctx context.Context, scope, key string) error
	held := func(open <-chan struct{}, ctx context.Context) error {
		select {
		case <-open:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	batched := func(scopes idempotency.Scopes) func(*idempotency.Engine, <-chan struct{}) do {
		return func(engine *idempotency.Engine, open <-chan struct{}) do {
			batch := idempotency.NewBatch(engine, "write", scopes, func(ctx context.Context, tx pgx.Tx, items []*noteItem) error {
				for _, item := range items {
					if item.Scope == "slow" {
						if err := held(open, ctx); err != nil {
							return err
						}
					}
				}
				return writes(ctx, tx, items)
			}, idempotency.WithMaxBatch(3))
			return func(ctx context.Context, scope, key string) error {
				_, err := batch.Do(ctx, inScope(scope, key, key), key)
				return err
			}
		}
	}
	for name, form := range map[string]func(*idempotency.Engine, <-chan struct{}) do{
		"single calls": func(engine *idempotency.Engine, open <-chan struct{}) do {
			return func(ctx context.Context, scope, key string) error {
				_, err := idempotency.Do(ctx, engine, inScope(scope, key, key), func(ctx context.Context, tx pgx.Tx) (note, error) {
					if scope == "slow" {
						if err := held(open, ctx); err != nil {
							return note{}, err
						}
					}
					return write(key)(ctx, tx)
				})
				return err
			}
		},
		"batches of a scope": batched(idempotency.WithinScope()),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			engine := f.engineOn(f.open(f.url, 16), idempotency.Config{Workers: 4, Batches: 3, Wait: time.Minute, Budget: time.Minute})
			open := make(chan struct{})
			release := sync.OnceFunc(func() { close(open) })
			defer release()
			do := form(engine, open)
			const slow = 40
			var callers sync.WaitGroup
			for i := range slow {
				callers.Go(func() {
					if err := do(t.Context(), "slow", fmt.Sprint(i)); err != nil {
						t.Errorf("a slow call: %v", err)
					}
				})
			}
			eventually(t, "all slow calls wait", func() bool { return engine.Stats().Waiting == slow })
			for i := range 3 {
				if err := do(t.Context(), fmt.Sprint("quick ", i), "k"); err != nil {
					t.Errorf("another tenant's call: %v", err)
				}
			}
			if n := engine.Stats().Waiting; n != slow {
				t.Errorf("%d callers wait once the others are through, want the %d slow ones", n, slow)
			}
			release()
			callers.Wait()
			f.effects(slow + 3)
		})
	}
}

// A caller that leaves gives its place in the queue back.
func TestShare_PlacesOfThoseWhoLeftAreFree(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{Workers: 1, Queue: 3})
	gate := newGate()
	busy := singly(t, engine, inScope("busy", "k", "a"), gate.before(write("a")))
	gate.arrived(t)
	for range 3 {
		ctx, leave := context.WithCancel(t.Context())
		var leavers []<-chan reply
		for i := range 3 {
			replies := make(chan reply, 1)
			leavers = append(leavers, replies)
			go func() {
				o, err := idempotency.Do(ctx, engine, inScope("leaver", fmt.Sprint(i), "a"), never(t))
				replies <- reply{o, err}
			}()
		}
		queued(t, engine, 3)
		if !engine.Refuses("leaver") {
			t.Error("the queue is not full")
		}
		leave()
		for _, replies := range leavers {
			_, err := replied(t, replies)
			wantError(t, err, context.Canceled)
		}
		if s := engine.Stats(); s.Queued != 0 || s.InFlight != 1 || engine.Refuses("leaver") {
			t.Errorf("once they left: %+v", s)
		}
	}
	close(gate.open)
	if _, err := replied(t, busy); err != nil {
		t.Error(err)
	}
	f.effects(1)
}

// Followers leave a key in about the time in which they joined it, and keep nobody else
// from the engine.
func TestShare_ManyFollowersLeaveOneKey(t *testing.T) {
	t.Parallel()
	const followers = 5000 // The race detector takes 8,000 goroutines.
	f := newFixture(t)
	engine := f.engine(idempotency.Config{Workers: 2, Wait: time.Minute, Budget: time.Minute})
	gate := newGate()
	leader := singly(t, engine, call("k", "a"), gate.before(write("a")))
	gate.arrived(t)
	ctx, leave := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	began := time.Now()
	for range followers {
		callers.Go(func() {
			if _, err := idempotency.Do(ctx, engine, call("k", "a"), never(t)); !errors.Is(err, context.Canceled) {
				t.Errorf("a follower: %v", err)
			}
		})
	}
	eventually(t, "all have joined", func() bool { return engine.WaitingFor("tenant", "k") == 1+followers })
	joined := time.Since(began)
	began = time.Now()
	leave()
	callers.Wait()
	if left := time.Since(began); left > 10*joined+time.Second {
		t.Errorf("they joined in %s and left in %s", joined, left)
	}
	waiting(t, engine, "k", 1)
	close(gate.open)
	if _, err := replied(t, leader); err != nil {
		t.Error(err)
	}
	f.effects(1)
}

// A replay needs no worker.
func TestShare_ReplaysPassSlowEffects(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{Workers: 2, Batches: 2, Wait: time.Minute, Budget: time.Minute})
	batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), writes)
	o, err := idempotency.Do(t.Context(), engine, inScope("a", "single", "a"), write("a"))
	executed(t, reply{o, err})
	o, err = batch.Do(t.Context(), inScope("a", "batched", "a"), "a")
	executed(t, reply{o, err})

	release := hold(t, engine, 2)
	defer release()
	gate := newGate()
	var busy []<-chan reply
	for i := range 2 {
		busy = append(busy, singly(t, engine, inScope(fmt.Sprint("busy ", i), "k", "a"), gate.before(write("a"))))
		gate.arrived(t)
	}
	if s := engine.Stats(); s.Workers != 2 || s.Batches != 2 {
		t.Errorf("not all workers are held: %+v", s)
	}
	for range 3 {
		if o, err := idempotency.Do(t.Context(), engine, inScope("a", "single", "a"), never(t)); err != nil || !o.Replayed {
			t.Errorf("the single call: %+v, %v", o, err)
		}
		if o, err := batch.Do(t.Context(), inScope("a", "batched", "a"), "a"); err != nil || !o.Replayed {
			t.Errorf("the batched call: %+v, %v", o, err)
		}
		_, err := idempotency.Do(t.Context(), engine, inScope("a", "single", "b"), never(t))
		wantError(t, err, idempotency.ErrKeyReused)
	}
	close(gate.open)
	for _, replies := range busy {
		if _, err := replied(t, replies); err != nil {
			t.Error(err)
		}
	}
}

// Close keeps to its context, whatever effects do.
func TestClose_ReturnsWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{Batches: 1, Workers: 1, PurgeEvery: time.Hour})
	open := make(chan struct{})
	batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), func(ctx context.Context, tx pgx.Tx, items []*noteItem) error {
		<-open
		return writes(ctx, tx, items)
	})
	var calls []chan error
	for _, do := range []func() error{
		func() error {
			_, err := batch.Do(t.Context(), call("batched", "a"), "a")
			return err
		},
		func() error {
			_, err := idempotency.Do(t.Context(), engine, call("single", "a"), func(ctx context.Context, tx pgx.Tx) (note, error) {
				<-open
				return write("a")(ctx, tx)
			})
			return err
		},
	} {
		answer := make(chan error, 1)
		calls = append(calls, answer)
		go func() { answer <- do() }()
	}
	eventually(t, "both run", func() bool { s := engine.Stats(); return s.Workers == 1 && s.Batches == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	wantError(t, engine.Close(ctx), context.DeadlineExceeded) // The effects still run: nothing opened them.
	for _, answer := range calls {
		wantError(t, <-answer, idempotency.ErrClosed)
	}
	close(open)
	closed(t, engine)
	f.effects(2)
}

// What executed is observed, also when its caller has left.
func TestEvents_TellOfExecutionsWithoutACaller(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"answered", "the reply is lost", "the request is lost"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			proxy, url := newProxy(t, f.url)
			var events kinds
			engine := f.engineOn(f.open(url, 6), idempotency.Config{Batches: 1, Workers: 1, Observer: events.observe})
			gate := newGate()
			ctx, leave := context.WithCancel(t.Context())
			leader := start(ctx, engine, call("k", "a"), gate.before(write("a")))
			gate.arrived(t)
			leave()
			_, err := replied(t, leader)
			wantError(t, err, idempotency.ErrInProgress)
			var met <-chan struct{}
			if name != "answered" {
				met = proxy.arm(faults[name])
			}
			close(gate.open)
			if met != nil {
				<-met
			}
			o := mustDo(t, engine, "k", "a")
			observed := func(what string) (n int) {
				events.mu.Lock()
				defer events.mu.Unlock()
				for _, kind := range events.seen {
					if kind == what {
						n++
					}
				}
				return n
			}
			if name == "the request is lost" {
				if o.Replayed {
					t.Errorf("%+v, want it executed", o)
				}
			} else if !o.Replayed {
				t.Errorf("%+v, want a replay", o)
			}
			closed(t, engine)
			// Nobody looks up a COMMIT that was not answered to nobody: its row is there.
			if n := observed("executed"); n != 1 && (name != "the reply is lost" || observed("commit unknown") != 1) {
				t.Errorf("%d executions were observed, want 1", n)
			}
			f.effects(1)
		})
	}
}
