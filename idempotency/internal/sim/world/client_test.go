package world_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/onceql/onceql/idempotency"
)

// An attempt is a request of a client and what it heard.
type attempt struct {
	// number is a thousand times that of the intent, and how often it asked.
	number, intent int
	began, ended   time.Duration
	heard          heard
	value          result
	replayed       bool
	err            error
}

// A heard is what an answer means for the client.
type heard int

const (
	// unknown: it has to ask again.
	unknown heard = iota
	// success: it is done.
	success
	// refused: it was told what is wrong with the request; asking again is of no use.
	refused
)

func (a attempt) String() string {
	text := fmt.Sprintf("%v..%v attempt %d of intent %d", a.began, a.ended, a.number, a.intent)
	switch a.heard {
	case success:
		return fmt.Sprintf("%s: %+v replayed %t", text, a.value, a.replayed)
	case refused:
		return fmt.Sprintf("%s: refused: %v", text, a.err)
	case unknown:
	}
	return fmt.Sprintf("%s: %v", text, a.err)
}

// errNoServer is what a client hears whose server is not there.
var errNoServer = errors.New("no server answers")

// meaning says what an answer means.
func meaning(err error) heard {
	switch {
	case err == nil:
		return success
	case errors.Is(err, idempotency.ErrUnavailable), errors.Is(err, idempotency.ErrInProgress),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, errNoServer):
		return unknown
	}
	return refused
}

// pursue asks for the intent until it is done or refused, and once more to hear the same
// again; then it may forget the key.
func (w *world) pursue(n int, after time.Duration) {
	i := w.plan.intents[n]
	draws := w.cluster.Stream(fmt.Sprint("intent ", n))
	time.Sleep(after)
	server, done := i.server, false
	pause, patience := 20*time.Millisecond, i.patience
	for try := 1; w.elapsed() < trouble+healing; try++ {
		a := w.ask(n, try, server, patience)
		patience = min(2*patience, enough)
		if a.heard == refused || done && a.heard == success {
			break
		}
		done = done || a.heard == success
		server = (server + 1) % len(w.servers)
		w.sleep(pause + draws.Below(time.Millisecond))
		pause = min(2*pause, time.Second)
	}
	if i.forget {
		w.sleep(draws.Below(time.Millisecond))
		w.forget(i, server)
	}
}

// healing is how long after the trouble every key has to be done.
const healing = 30 * time.Second

// ask sends one request and notes what came of it.
func (w *world) ask(n, try, server int, patience time.Duration) attempt {
	i := w.plan.intents[n]
	a := attempt{number: 1000*(n+1) + try, intent: n, began: w.elapsed()}
	// A caller who leaves: a budget that is over has another error.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer time.AfterFunc(w.cluster.Instant(patience), cancel).Stop()
	outcome, err := w.servers[server].do(ctx, i, a.number)
	a.value, a.replayed, a.err = outcome.Value, outcome.Replayed, err
	a.ended, a.heard = w.elapsed(), meaning(err)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.attempts = append(w.attempts, a)
	return a
}

func (w *world) forget(i intentPlan, server int) {
	for range 20 {
		began := w.elapsed()
		there, err := w.servers[server].forget(i.scope, i.key)
		w.cluster.Note("client", fmt.Sprintf("forgets %s since %v: %t %v", i.id(), began, there, err))
		if err == nil {
			return
		}
		w.sleep(100 * time.Millisecond)
	}
}
