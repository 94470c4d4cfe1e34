package main

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/internal/identity"
)

// The database is probed so often, and given so long to answer.
const (
	probeEvery   = time.Second
	probeTimeout = 2 * time.Second
)

// health knows whether the server can do its work.
type health struct {
	pool     *pgxpool.Pool
	down     atomic.Bool
	draining atomic.Bool
}

func newHealth(pool *pgxpool.Pool) *health { return &health{pool: pool} }

// probe asks the database over and over whether it is there, until ctx ends.
func (h *health) probe(ctx context.Context) {
	ticker := time.NewTicker(probeEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			h.down.Store(h.ping(ctx) != nil)
		}
	}
}

func (h *health) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	return h.pool.Ping(ctx)
}

func (h *health) drain() { h.draining.Store(true) }

// live answers as long as the process runs.
func (h *health) live(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok") }

// ready says whether requests should be sent here.
func (h *health) ready(w http.ResponseWriter, r *http.Request) {
	switch {
	case h.draining.Load():
		plain(w, http.StatusServiceUnavailable, "draining")
	case h.ping(r.Context()) != nil:
		plain(w, http.StatusServiceUnavailable, "the database can't be reached")
	default:
		plain(w, http.StatusOK, "ok")
	}
}

// admit refuses requests that could not be served now, before anything of them
// is read but who sends them. Text/plain is the one form of a 503 that Apollo,
// urql and proxies all retry by themselves.
func (h *health) admit(engine *idempotency.Engine, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sender, _ := identity.From(r.Context())
		switch {
		case h.down.Load():
			plain(w, http.StatusServiceUnavailable, "the database can't be reached for now; try again")
		case engine.Refuses(sender.Tenant):
			plain(w, http.StatusServiceUnavailable, "too many requests are waiting; try again")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n")
}
