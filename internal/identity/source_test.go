package identity_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/onceql/onceql/internal/identity"
	"github.com/onceql/onceql/internal/issuer"
)

// Whoever is between the server and its issuer must not be able to say what the keys
// are.
func TestKeys_OfAnIssuerWithTLSComeByTLS(t *testing.T) {
	t.Parallel()
	plain := issuer.New(t)
	var place atomic.Pointer[string]
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"issuer":"https://%s","jwks_uri":%q}`, r.Host, *place.Load())
	})
	mux.HandleFunc("GET /redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain.URL+"/keys", http.StatusFound)
	})
	secure := httptest.NewTLSServer(mux)
	t.Cleanup(secure.Close)
	for name, there := range map[string]string{"a place without TLS": plain.URL + "/keys", "a redirect to it": secure.URL + "/redirect"} {
		place.Store(&there)
		var failure error
		_, err := identity.NewVerifier(t.Context(), identity.Config{
			Issuer: secure.URL, Audience: issuer.Audience, TenantClaim: "sub",
			Transport: secure.Client().Transport, Changed: func(_ identity.KeysState, err error) { failure = err },
		})
		if err != nil || failure == nil || plain.Fetches.Load() != 0 {
			t.Errorf("%s: %v, %v, and %d fetches of it", name, err, failure, plain.Fetches.Load())
		}
		if failure != nil && !strings.Contains(failure.Error(), "jwks_uri") && !strings.Contains(failure.Error(), "redirects from https") {
			t.Errorf("%s failed for another reason: %v", name, failure)
		}
	}
}
