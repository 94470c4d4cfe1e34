package telemetry

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/onceql/onceql/internal/identity"
	"github.com/onceql/onceql/internal/requestid"
)

const (
	// logEvery is how long after a refusal was logged others of its reason and tenant
	// are not.
	logEvery = time.Minute
	// maxLogged is how many refusals are logged in that time, whatever their tenants:
	// it bounds the log, and the memory of what was logged.
	maxLogged = 1000
	// maxTenant is how much of a tenant's name is logged, in bytes.
	maxTenant = 64
)

// unread is the operation of what is refused before its document is read.
const unread = "unread"

// Refusals counts what the server refuses, by reason, and logs the first of each reason
// and tenant in a minute, for at most 1000 of these pairs. It is safe for use by many
// goroutines, and cheap enough for a flood.
type Refusals struct {
	log    *slog.Logger
	counts map[Reason]prometheus.Counter
	queue  *queue

	mu sync.Mutex
	// logged are those since begun, which is the time of the first.
	logged map[refused]struct{}
	begun  time.Time
}

// refused is what is logged once in a minute.
type refused struct {
	reason Reason
	tenant string
}

func newRefusals(registry *prometheus.Registry, log *slog.Logger) *Refusals {
	total := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "onceql_refused_total",
		Help: "Requests and fields of requests that were refused, by reason.",
	}, []string{"reason"})
	registry.MustRegister(total)
	r := &Refusals{log: log, counts: map[Reason]prometheus.Counter{}, queue: newQueue(registry, log), logged: map[refused]struct{}{}}
	for _, reason := range Reasons() {
		r.counts[reason] = total.WithLabelValues(string(reason))
	}
	return r
}

// Refuse counts a refusal in the request that ctx belongs to, and says whether it is the
// first of its reason and tenant in a minute, which is logged. The operation is the
// mutation's field, "query", or "" when the document was not read: never a text of the
// client's.
func (r *Refusals) Refuse(ctx context.Context, reason Reason, operation string) (first bool) {
	count, known := r.counts[reason]
	if !known {
		reason, count = other, r.counts[other]
	}
	count.Inc()
	if reason == QueueFull {
		r.queue.refused()
	}
	sender, _ := identity.From(ctx)
	tenant := Tenant(sender.Tenant)
	first, last := r.first(refused{reason, tenant})
	if !first {
		return false
	}
	if operation == "" {
		operation = unread
	}
	r.log.InfoContext(ctx, "a request is refused", "reason", string(reason), "operation", operation, "tenant", tenant, "requestId", requestid.From(ctx))
	if last {
		r.log.WarnContext(ctx, "the refusals of more tenants are only counted")
	}
	return true
}

// first says whether none like it was logged within a minute, and whether it is the last
// that is.
func (r *Refusals) first(like refused) (first, last bool) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.begun) >= logEvery {
		clear(r.logged)
		r.begun = now
	}
	if _, logged := r.logged[like]; logged || len(r.logged) == maxLogged {
		return false, false
	}
	like.tenant = strings.Clone(like.tenant) // Not the whole token that it is part of.
	r.logged[like] = struct{}{}
	return true, len(r.logged) == maxLogged
}

// QueueFull says whether the queue had no place for a request lately.
func (r *Refusals) QueueFull() bool { return r.queue.isFull() }

// Tenant is a tenant's name as it is logged: no longer than 64 bytes.
func Tenant(tenant string) string {
	if len(tenant) <= maxTenant {
		return tenant
	}
	return strings.ToValidUTF8(tenant[:maxTenant], "") + "…"
}
