package server

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/graph/transport"
	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/internal/identity"
)

// The database is probed so often, and given so long to answer.
const (
	probeEvery   = time.Second
	probeTimeout = 2 * time.Second
)

// Health knows whether the server can do its work.
type Health struct {
	pool     *pgxpool.Pool
	down     atomic.Bool
	draining atomic.Bool
}

// NewHealth returns the health of a server whose queries go through the pool.
func NewHealth(pool *pgxpool.Pool) *Health { return &Health{pool: pool} }

// Probe asks the database over and over whether it is there, until ctx ends.
func (h *Health) Probe(ctx context.Context) {
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

func (h *Health) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	return h.pool.Ping(ctx)
}

// Drain makes the server say that it is no longer ready.
func (h *Health) Drain() { h.draining.Store(true) }

// Live answers as long as the process runs.
func (h *Health) Live(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok") }

// Ready says whether requests should be sent here.
func (h *Health) Ready(w http.ResponseWriter, r *http.Request) {
	switch {
	case h.draining.Load():
		plain(w, http.StatusServiceUnavailable, "draining")
	case h.ping(r.Context()) != nil:
		plain(w, http.StatusServiceUnavailable, "the database can't be reached")
	default:
		plain(w, http.StatusOK, "ok")
	}
}

// Admit refuses requests that could not be served now, before anything of them
// is read but who sends them. Text/plain is the one form of a 503 that Apollo,
// urql and proxies all retry by themselves.
func (h *Health) Admit(engine *idempotency.Engine, next http.Handler) http.Handler {
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
		transport.SetRetryAfter(w.Header())
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n")
}
