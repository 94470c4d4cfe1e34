package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/onceql/onceql/chaos/history"
)

// Kinds of keys. They begin the keys' names.
const (
	Ordinary  = "k"
	Forgotten = "f" // Forget may be called on them.
	Short     = "s" // They go to the server that keeps keys for a moment.
	Large     = "b" // Their requests have bodies of LargeBody.
)

// A Load is callers that never rest.
type Load struct {
	Client *Client
	// Servers take the calls, and Short those with Short keys; without a URL there are none.
	Servers []Target
	Short   Target
	// Styles are those of the callers.
	Styles []Style
	// LargeBody is how many bytes a body of a Large key has at least. Zero means that there
	// are no such keys.
	LargeBody int
	// Projects are the ids of those that may be changed.
	Projects []string
	// Forget forgets a key, and says what became of it. Nil: none is forgotten.
	Forget func(ctx context.Context, key string) history.Outcome
	// Workers is how many callers there are, and Pace how long each takes for a call at
	// least.
	Workers int
	Pace    time.Duration

	mu sync.Mutex
	// first is the first request with each key.
	first map[string]Request
	// recent are some that were sent not long ago.
	recent []Request
	n      int
}

// Run calls until ctx ends, and returns once all callers have heard an answer or have
// given up. Keys begin with the kind and the name.
func (l *Load) Run(ctx context.Context, name string, seed uint64) {
	l.first, l.recent = make(map[string]Request), nil
	// What is sent is sent to its end: an answer is heard also after ctx.
	calling := context.WithoutCancel(ctx)
	var workers sync.WaitGroup
	for i := range l.Workers {
		w := &worker{l, rand.New(rand.NewPCG(seed, uint64(i))), name}
		workers.Go(func() {
			for ctx.Err() == nil {
				w.work(calling)
			}
		})
	}
	for i := range 4 {
		if l.Short.URL == "" {
			break
		}
		w := &worker{l, rand.New(rand.NewPCG(seed, uint64(1000+i))), name}
		workers.Go(func() {
			for ctx.Err() == nil {
				w.short(ctx)
			}
		})
	}
	workers.Wait()
}

// A worker is one caller, or a crowd that calls at once.
type worker struct {
	*Load
	random *rand.Rand
	name   string
}

// work is one of the things that callers do.
func (w *worker) work(ctx context.Context) {
	start := time.Now()
	switch n := w.random.IntN(100); {
	case n < 2 && w.LargeBody > 0:
		w.call(ctx, w.request(Large, Create))
	case n < 40:
		w.call(ctx, w.request(Ordinary, Create))
	case n < 55:
		w.call(ctx, w.request(Ordinary, Update))
	case n < 75:
		w.burst(ctx)
	case n < 90 || n >= 95 && w.Forget == nil:
		w.replay(ctx)
	case n < 95:
		r := w.request(Ordinary, Create)
		invalid := r
		invalid.Operation, invalid.Variant = Invalid, string(Invalid)
		w.send(ctx, invalid)
		w.send(ctx, r)
	default:
		w.forget(ctx)
	}
	pause(ctx, w.Pace-time.Since(start))
}

// request is one with a new key.
func (w *worker) request(kind string, operation Operation) Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n++
	r := Request{Key: fmt.Sprintf("%s-%s-%d", kind, w.name, w.n), Variant: string(operation) + "1", Operation: operation}
	if kind == Large {
		r.Size = w.LargeBody
	}
	if operation == Update {
		r.Project = w.Projects[w.random.IntN(len(w.Projects))]
	}
	w.first[r.Key] = r
	return r
}

// other is the request with another payload under the same key.
func other(r Request) Request {
	r.Variant = string(r.Operation) + "2"
	return r
}

func (w *worker) style() Style { return w.Styles[w.random.IntN(len(w.Styles))] }

func (w *worker) send(ctx context.Context, r Request) {
	w.Client.Send(ctx, w.style(), w.Servers, w.random.IntN(len(w.Servers)), r)
}

// call sends a request, and often once more, to any server.
func (w *worker) call(ctx context.Context, r Request) {
	w.send(ctx, r)
	w.remember(r)
	switch w.random.IntN(10) {
	case 0, 1, 2:
		w.send(ctx, r)
	case 3:
		w.send(ctx, other(r))
	}
}

// remember keeps one of some requests for replay.
func (w *worker) remember(r Request) {
	const most = 1000
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.recent) < most {
		w.recent = append(w.recent, r)
		return
	}
	w.recent[w.random.IntN(most)] = r
}

// replay sends a request again that was answered a while ago, or another one under its
// key.
func (w *worker) replay(ctx context.Context) {
	w.mu.Lock()
	var r Request
	if len(w.recent) > 0 {
		r = w.recent[w.random.IntN(len(w.recent))]
	}
	w.mu.Unlock()
	switch {
	case r.Key == "":
	case w.random.IntN(8) == 0:
		w.send(ctx, other(r))
	default:
		w.send(ctx, r)
	}
}

// burst sends one request many times at once, at times with another payload beside it.
func (w *worker) burst(ctx context.Context) {
	operation := Create
	if w.random.IntN(4) == 0 {
		operation = Update
	}
	r := w.request(Ordinary, operation)
	mixed := w.random.IntN(4) == 0
	var crowd sync.WaitGroup
	for i := range 5 + w.random.IntN(20) {
		sent := r
		if mixed && i%3 == 0 {
			sent = other(r)
		}
		style, first := w.style(), w.random.IntN(len(w.Servers))
		crowd.Go(func() { w.Client.Send(ctx, style, w.Servers, first, sent) })
	}
	crowd.Wait()
	w.remember(r)
}

// forget has a key forgotten while it is used.
func (w *worker) forget(ctx context.Context) {
	r := w.request(Forgotten, Create)
	w.send(ctx, r)
	var crowd sync.WaitGroup
	for range 1 + w.random.IntN(3) {
		style, first := w.style(), w.random.IntN(len(w.Servers))
		crowd.Go(func() { w.Client.Send(ctx, style, w.Servers, first, r) })
	}
	called := time.Since(w.Client.Start)
	outcome := w.Forget(ctx, r.Key)
	w.Client.History.Add(history.Call{
		Key: r.Key, Variant: history.Forget, Server: "", Called: called, Returned: time.Since(w.Client.Start), Outcome: outcome,
	})
	crowd.Wait()
	w.send(ctx, r)
}

// short uses a key that is kept for a moment, and uses it again around the moments when
// its replays and its retention end.
func (w *worker) short(ctx context.Context) {
	r := w.request(Short, Create)
	to := []Target{w.Short}
	for range 4 {
		w.Client.Send(context.WithoutCancel(ctx), Styles[w.random.IntN(3)], to, 0, r)
		pause(ctx, time.Duration(w.random.Int64N(int64(3*time.Second))))
	}
}
