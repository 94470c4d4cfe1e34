package idempotency_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/internal/pgtest"
)

// The database goes away while one call runs and many wait, in the queue and with
// the running call's key. Everyone hears of it, nobody is left behind, and once
// it is back every key goes through, once.
func TestServer_GoesAwayWhileCallersQueue(t *testing.T) {
	t.Parallel()
	postgres := pgtest.NewServer(t)
	f := fixtureAt(t, postgres.URL())
	engine := f.engine(idempotency.Config{Workers: 1, Wait: 2 * time.Second})
	gate := newGate()
	calls := []<-chan reply{start(t.Context(), engine, call("running", "a"), gate.before(write("a")))}
	gate.arrived(t)
	for range 5 {
		calls = append(calls, start(t.Context(), engine, call("running", "a"), write("a")))
	}
	waiting(t, engine, "running", 6)
	const keys = 10
	for i := range keys {
		key := fmt.Sprint(i)
		for range 2 {
			calls = append(calls, start(t.Context(), engine, call(key, "a"), write("a")))
		}
		waiting(t, engine, key, 2)
	}
	postgres.Stop(t)
	close(gate.open)
	for _, replies := range calls {
		_, err := replied(t, replies)
		wantError(t, err, idempotency.ErrUnavailable)
	}

	// Impatient clients send on all the time, while it comes back.
	var clients sync.WaitGroup
	for i := range keys {
		for range 3 {
			clients.Go(func() {
				for deadline := time.Now().Add(time.Minute); ; {
					_, err := do(t.Context(), engine, fmt.Sprint(i), "a")
					switch {
					case err == nil:
						return
					case !errors.Is(err, idempotency.ErrUnavailable) && !errors.Is(err, idempotency.ErrInProgress), time.Now().After(deadline):
						t.Errorf("error %v, want the call to go through", err)
						return
					}
				}
			})
		}
	}
	postgres.Start(t)
	clients.Wait()
	if o := mustDo(t, engine, "running", "a"); o.Replayed {
		t.Errorf("running: %+v, want an execution", o)
	}
	f.pool.Reset()
	f.effects(keys + 1)
}
