package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/onceql/onceql/db"
	"github.com/onceql/onceql/graph/transport"
	"github.com/onceql/onceql/internal/identity"
	"github.com/onceql/onceql/internal/telemetry"
)

const (
	// probeEvery is the pause between two probes of a database that is there.
	probeEvery = time.Second
	// probeAwayEvery is the pause while it is away, so that its return is soon seen.
	probeAwayEvery = 250 * time.Millisecond
)

// Health knows whether the server can do its work.
type Health struct {
	check    func(context.Context) error
	wait     time.Duration
	refusals *telemetry.Refusals
	log      *slog.Logger
	outage   atomic.Pointer[outage]
	draining atomic.Bool
}

// An outage is a time in which the database takes no mutations.
type outage struct {
	since time.Time
	err   error
}

func (o *outage) String() string {
	for _, known := range []error{db.ErrReadOnly, db.ErrCommitsWait} {
		if errors.Is(o.err, known) {
			return known.Error()
		}
	}
	return "the database can't be reached"
}

// NewHealth returns the health of a server whose database check asks, and whose
// calls wait for their outcome as long as wait. The database is taken to be there
// until Watch finds that it is not.
func NewHealth(check func(context.Context) error, wait time.Duration, refusals *telemetry.Refusals, log *slog.Logger) *Health {
	return &Health{check: check, wait: wait, refusals: refusals, log: log}
}

// Watch checks the database over and over, until ctx ends. When the database takes no
// writes, or commits wait, and when that is over, the log says so.
func (h *Health) Watch(ctx context.Context) {
	for {
		began := time.Now()
		err := h.check(ctx)
		if ctx.Err() != nil {
			return
		}
		h.note(began, err)
		pause := probeEvery
		if err != nil {
			pause = probeAwayEvery
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// note stores what a check found, and when it began.
func (h *Health) note(began time.Time, err error) {
	before := h.outage.Load()
	switch {
	case err == nil && before != nil:
		h.outage.Store(nil)
		h.log.Info("the database takes writes again", "after", time.Since(before.since))
	case err != nil && before == nil:
		now := &outage{began, err}
		h.outage.Store(now)
		var why []any
		if now.String() != err.Error() {
			why = []any{"err", err}
		}
		h.log.Error(now.String(), why...)
	case err != nil:
		h.outage.Store(&outage{before.since, err})
	}
}

// State says what the last check of the database found, for metrics.
func (h *Health) State() telemetry.DatabaseState {
	outage := h.outage.Load()
	switch {
	case outage == nil:
		return telemetry.DatabaseUp
	case errors.Is(outage.err, db.ErrReadOnly):
		return telemetry.DatabaseReadOnly
	case errors.Is(outage.err, db.ErrCommitsWait):
		return telemetry.DatabaseCommitsWait
	}
	return telemetry.DatabaseUnreachable
}

// Drain makes the server say that it is no longer ready.
func (h *Health) Drain() { h.draining.Store(true) }

// Draining says whether Drain was called.
func (h *Health) Draining() bool { return h.draining.Load() }

// Live answers as long as the process runs.
func (h *Health) Live(w http.ResponseWriter, _ *http.Request) {
	transport.WriteText(w, http.StatusOK, "ok")
}

// Ready says whether requests should be sent here: not to a server that drains, and
// not to one whose last check of the database failed. It says so before Admit
// refuses, so that balancers may go elsewhere first. A full queue is told and is no
// reason: tenants share it, and those who didn't fill it are served.
func (h *Health) Ready(w http.ResponseWriter, _ *http.Request) {
	outage := h.outage.Load()
	switch {
	case h.draining.Load():
		transport.WriteText(w, http.StatusServiceUnavailable, "draining")
	case outage != nil:
		transport.WriteText(w, http.StatusServiceUnavailable, outage.String())
	case h.refusals.QueueFull():
		transport.WriteText(w, http.StatusOK, "the queue is full")
	default:
		transport.WriteText(w, http.StatusOK, "ok")
	}
}

// Admit refuses requests that could not be served now, before anything but their
// sender is read: when the database has been away for longer than a call
// waits for it, and when refuses says that the queue has no place for the tenant.
func (h *Health) Admit(refuses func(tenant string) bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sender, _ := identity.From(r.Context())
		outage := h.outage.Load()
		switch {
		case outage != nil && time.Since(outage.since) > h.wait:
			h.refusals.Refuse(r.Context(), telemetry.DatabaseAway, "")
			transport.WriteText(w, http.StatusServiceUnavailable, outage.String()+" for now; try again")
		case refuses(sender.Tenant):
			h.refusals.Refuse(r.Context(), telemetry.QueueFull, "")
			transport.WriteText(w, http.StatusServiceUnavailable, "too many requests are waiting; try again")
		default:
			next.ServeHTTP(w, r)
		}
	})
}
