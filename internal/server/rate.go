package server

import (
	"io"
	"math"
	"net/http"
	"strconv"

	"github.com/onceql/onceql/graph/transport"
	"github.com/onceql/onceql/internal/identity"
	"github.com/onceql/onceql/internal/quota"
	"github.com/onceql/onceql/internal/telemetry"
)

// smallBody is how long a body may be that is read before its request is refused.
const smallBody = 32 << 10

// Rate refuses requests of tenants that have to wait, before anything but their sender is
// read. It holds the answer, so that sending faster does not help, see quota.Rate.Hold, and
// no longer once draining is closed. Nil lets all through.
func Rate(limit *quota.Rate, draining <-chan struct{}, refusals *telemetry.Refusals, next http.Handler) http.Handler {
	if limit == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sender, _ := identity.From(r.Context())
		if wait := limit.Wait(sender.Tenant); wait > 0 {
			refusals.Refuse(r.Context(), telemetry.TenantRate, "")
			// net/http reads such a body anyway, and sees only behind it that a client is gone.
			if 0 < r.ContentLength && r.ContentLength <= smallBody && r.Header.Get("Expect") == "" {
				_, _ = io.Copy(io.Discard, r.Body)
			}
			limit.Hold(r.Context(), draining, sender.Tenant, wait)
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
			transport.WriteText(w, http.StatusTooManyRequests, "too many requests of this tenant; try again")
			return
		}
		next.ServeHTTP(w, r)
	})
}
