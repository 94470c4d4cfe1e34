package server

import (
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/onceql/onceql/graph/transport"
	"github.com/onceql/onceql/internal/identity"
	"github.com/onceql/onceql/internal/telemetry"
)

// Rate refuses requests for which wait says that their tenant has to wait, before anything
// but their sender is read. Nil lets all through.
func Rate(wait func(tenant string) time.Duration, refusals *telemetry.Refusals, next http.Handler) http.Handler {
	if wait == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sender, _ := identity.From(r.Context())
		if d := wait(sender.Tenant); d > 0 {
			refusals.Refuse(r.Context(), telemetry.TenantRate, "")
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(d.Seconds()))))
			transport.WriteText(w, http.StatusTooManyRequests, "too many requests of this tenant; try again")
			return
		}
		next.ServeHTTP(w, r)
	})
}
