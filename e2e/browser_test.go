package e2e_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/onceql/onceql/internal/issuer"
	"github.com/onceql/onceql/internal/pgtest"
)

func TestBrowsers_OfConfiguredOriginsMayCall(t *testing.T) {
	t.Parallel()
	i := issuer.New(t)
	const origin = "https://app.example.com"
	s := serveTo(t, i, pgtest.URL(t), "CORS_ORIGINS="+origin+",http://localhost:3000")
	preflight := func(origin, headers string) http.Header {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, s.url+"/graphql", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Origin", origin)
		r.Header.Set("Access-Control-Request-Method", "POST")
		r.Header.Set("Access-Control-Request-Headers", headers)
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		return response.Header
	}
	for _, origin := range []string{origin, "http://localhost:3000"} {
		if got := preflight(origin, "authorization,content-type").Get("Access-Control-Allow-Origin"); got != origin {
			t.Errorf("the preflight of %s is allowed for %q", origin, got)
		}
	}
	for _, origin := range []string{"https://evil.example", "null", "https://app.example.com.evil.example", "http://app.example.com"} {
		if got := preflight(origin, "authorization,content-type").Get("Access-Control-Allow-Origin"); got != "" {
			t.Errorf("the preflight of %s is allowed for %q", origin, got)
		}
	}
	for sender, headers := range map[string]string{ // As browsers send them: sorted, in lower case.
		"Apollo":  "apollographql-client-name,apollographql-client-version,authorization,content-type",
		"CSRF":    "apollo-require-preflight,content-type,x-apollo-operation-name",
		"urql":    "accept,authorization,content-type",
		"tracing": "baggage,content-type,traceparent,tracestate",
		"ids":     "content-type,x-request-id",
	} {
		if got := preflight(origin, headers).Get("Access-Control-Allow-Headers"); got != headers {
			t.Errorf("%s may send %q, want %q", sender, got, headers)
		}
	}
	if got := preflight(origin, "x-other").Get("Access-Control-Allow-Headers"); got != "" {
		t.Errorf("a page may send %q", got)
	}
	token := bearer(i.Token("acme"))
	a := s.send(create("k", "Apollo"), append(token, "Origin", origin, "Sec-Fetch-Site", "cross-site")...)
	wantStatus(t, a, "EXECUTED")
	replay := s.send(create("k", "Apollo"), append(token, "Origin", origin)...)
	wantStatus(t, replay, "REPLAYED")
	for _, a := range []answer{
		a, replay,
		s.send(create("k", "Apollo"), "Origin", origin),
		s.sendRaw(`{}`, append(token, "Origin", origin)...),
		s.sendRaw(`{}`, append(token, "Origin", origin, "Content-Type", "text/plain")...),
		s.get("/graphql?query=mutation%7B__typename%7D", append(token, "Origin", origin)...),
	} {
		wantReadable(t, a)
	}
	// What is refused is readable too.
	if a := s.send(create("k", "Apollo"), "Origin", origin, "Sec-Fetch-Site", "cross-site"); a.status != 401 || a.header.Get("Access-Control-Allow-Origin") != origin {
		t.Errorf("without a token: %d %v", a.status, a.header)
	}
	a = s.send(create("k2", "Apollo"), append(token, "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site")...)
	if a.status != 403 || a.code() != "FORBIDDEN" || a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("another origin: %d %s", a.status, a.raw)
	}
}

func TestPages_LoadNothingAndAreFramedByNobody(t *testing.T) {
	t.Parallel()
	s := serve(t, pgtest.URL(t))
	for _, path := range []string{"/", "/playground/keys", "/schema.graphql", "/healthz", "/readyz", "/nowhere"} {
		header := s.get(path).header
		if policy := header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") {
			t.Errorf("%s: the policy is %q", path, policy)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"} {
			if got := header.Get(name); got != want {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
	}
}

// unread are headers of answers that are for the browser itself, or for those between.
var unread = []string{
	"Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Connection", "Content-Security-Policy", "Cross-Origin-Opener-Policy",
	"Date", "Referrer-Policy", "Vary", "X-Content-Type-Options", "X-Frame-Options",
}

// wantReadable checks that a page of another origin may read all of the answer's headers
// that are for it: those that are exposed, or that it always may,
// https://fetch.spec.whatwg.org/#cors-safelisted-response-header-name.
func wantReadable(t testing.TB, a answer) {
	t.Helper()
	exposed := strings.Split(a.header.Get("Access-Control-Expose-Headers"), ", ")
	readable := slices.Concat(exposed, unread, []string{"Cache-Control", "Content-Language", "Content-Length", "Content-Type", "Expires", "Last-Modified", "Pragma"})
	for name := range a.header {
		if !slices.ContainsFunc(readable, func(r string) bool { return strings.EqualFold(r, name) }) {
			t.Errorf("status %d: the page may read %v, want %s too", a.status, exposed, name)
		}
	}
}
