package server

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/rs/cors"

	"github.com/onceql/onceql/graph"
	"github.com/onceql/onceql/internal/requestid"
	"github.com/onceql/onceql/internal/telemetry"
)

// SecurityHeaders sets the headers that browsers heed on every answer. The policy lets a
// page load nothing and be framed by nobody; a page that needs more says so.
func SecurityHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

// requestHeaders are those that pages may send: what the API reads, and what GraphQL
// clients and tracing libraries add by themselves.
var requestHeaders = []string{
	"Accept", "Authorization", "Content-Type", requestid.Header,
	"Apollo-Require-Preflight", "Apollographql-Client-Name", "Apollographql-Client-Version", "X-Apollo-Operation-Name",
	"Traceparent", "Tracestate", "Baggage", // https://www.w3.org/TR/trace-context/, https://www.w3.org/TR/baggage/
}

// CORS lets pages of the origins call the API, and refuses what a browser sends
// for any other site. ValidateOrigins has accepted the origins.
func CORS(origins []string, refusals *telemetry.Refusals, next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	for _, origin := range origins {
		_ = protection.AddTrustedOrigin(origin)
	}
	own := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if crossSite(protection, r) {
			refusals.Refuse(r.Context(), telemetry.CrossSite, "")
			graph.Refuse(w, r, http.StatusForbidden, graph.CodeForbidden, "a page of another site may not call this API; see CORS_ORIGINS")
			return
		}
		next.ServeHTTP(w, r)
	})
	if len(origins) == 0 {
		return own
	}
	return cors.New(cors.Options{
		AllowedOrigins: origins,
		AllowedMethods: []string{http.MethodGet, http.MethodPost},
		AllowedHeaders: requestHeaders,
		ExposedHeaders: []string{"Allow", "Idempotency-Replayed", "Retry-After", "WWW-Authenticate", requestid.Header},
		MaxAge:         int((2 * time.Hour).Seconds()),
	}).Handler(own)
}

// crossSite says whether a browser sent the request for another site's page. The
// protection passes every GET, because it changes nothing. Here it runs a query: a page that
// can't read the answer could still have the server make it.
func crossSite(protection *http.CrossOriginProtection, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		asked := *r
		asked.Method = http.MethodPost
		r = &asked
	}
	return protection.Check(r) != nil
}

// ValidateOrigins refuses what is not the origin of a page. A pattern would be
// one that every page meets, or could.
func ValidateOrigins(origins []string) error {
	for _, origin := range origins {
		parsed, err := url.Parse(origin)
		if err != nil || parsed.Scheme == "" || parsed.Host == "" || strings.Contains(origin, "*") || origin != parsed.Scheme+"://"+parsed.Host ||
			!asSent(parsed) {
			return fmt.Errorf("CORS_ORIGINS: %q is not an origin such as https://app.example.com", origin)
		}
		if err := http.NewCrossOriginProtection().AddTrustedOrigin(origin); err != nil {
			return fmt.Errorf("CORS_ORIGINS: %w", err)
		}
	}
	return nil
}

// asSent says whether a browser may send the origin in this form: in lower case, and
// without the port that its scheme has by itself, https://html.spec.whatwg.org/#origin.
func asSent(origin *url.URL) bool {
	port := origin.Port()
	return origin.Host == strings.ToLower(origin.Host) && portNumber(port) &&
		!(origin.Scheme == "https" && port == "443") && !(origin.Scheme == "http" && port == "80")
}

// RequestTimeout gives up, after the timeout, what a request still waits for.
func RequestTimeout(timeout time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), timeout)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}
