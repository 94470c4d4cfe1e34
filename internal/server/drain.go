package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Requests knows which requests are under way, so that a server that stops can say what
// it has not answered.
type Requests struct {
	arriving, unanswered atomic.Int64
	// draining is closed by drain.
	draining chan struct{}
	drain    func()
}

// NewRequests knows of none yet.
func NewRequests() *Requests {
	draining := make(chan struct{})
	return &Requests{draining: draining, drain: sync.OnceFunc(func() { close(draining) })}
}

// Count counts what next serves. Once Drain was called, each answer asks its client to
// close the connection and to take another.
func (q *Requests) Count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-q.draining:
			w.Header().Set("Connection", "close")
		default:
		}
		body := &countedBody{ReadCloser: r.Body, requests: q}
		q.arriving.Add(1)
		defer q.unanswered.Add(-1)
		defer body.arrived()
		if r.ContentLength == 0 {
			body.arrived()
		} else {
			r.Body = body
		}
		next.ServeHTTP(w, r)
	})
}

// A countedBody notes when all of a request has arrived, or it is answered before.
type countedBody struct {
	io.ReadCloser
	requests *Requests
	whole    bool
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		b.arrived()
	}
	return n, err
}

func (b *countedBody) arrived() {
	if !b.whole {
		b.whole = true
		b.requests.unanswered.Add(1)
		b.requests.arriving.Add(-1)
	}
}

// Drain says that the server is about to stop.
func (q *Requests) Drain() { q.drain() }

// Draining is closed once Drain was called.
func (q *Requests) Draining() <-chan struct{} { return q.draining }

// lastAnswers is how long answers that are ready may take to be written.
const lastAnswers = time.Second

// Abandon closes the connections that are left once web was told to shut down and did not
// do so in time. It returns an error when a request had arrived and was not answered. One
// that was still arriving was not begun: of those the log tells.
func (q *Requests) Abandon(ctx context.Context, web *http.Server, log *slog.Logger) error {
	if q.unanswered.Load() > 0 {
		ctx, cancel := context.WithTimeout(ctx, lastAnswers)
		defer cancel()
		_ = web.Shutdown(ctx)
	}
	unanswered, arriving := q.unanswered.Load(), q.arriving.Load()
	_ = web.Close()
	if arriving > 0 {
		log.Warn("gave up requests that had not arrived as a whole", "requests", arriving)
	}
	if unanswered > 0 {
		return fmt.Errorf("requests that were not answered within DRAIN_TIMEOUT: %d", unanswered)
	}
	return nil
}
