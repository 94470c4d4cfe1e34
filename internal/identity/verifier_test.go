package identity_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/onceql/onceql/internal/identity"
	"github.com/onceql/onceql/internal/issuer"
)

func config(i *issuer.Issuer) identity.Config {
	c := identity.Config{Issuer: i.URL, Audience: issuer.Audience, TenantClaim: "sub"}
	if i.Transport != nil {
		c.Transport = i.Transport
	}
	return c
}

func verifier(t testing.TB, i *issuer.Issuer) *identity.Verifier {
	t.Helper()
	v, err := identity.NewVerifier(t.Context(), config(i))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func header(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

// wantRefused checks that the token is refused for the reason, in words that have
// nothing of it.
func wantRefused(t testing.TB, v *identity.Verifier, name, token, reason string) {
	t.Helper()
	got, err := v.Identify(t.Context(), header(token))
	if !errors.Is(err, identity.ErrUnauthenticated) || identity.Reason(err) != reason {
		t.Errorf("%s: %+v, %v (%q), want it refused: %s", name, got, err, identity.Reason(err), reason)
		return
	}
	if !slices.Contains(identity.Reasons(), reason) {
		t.Errorf("%s: %q is none of the reasons", name, reason)
	}
	if strings.Contains(err.Error(), "acme") || token != "" && strings.Contains(err.Error(), token) {
		t.Errorf("%s: the error tells of the token: %v", name, err)
	}
}

func wantTenant(t testing.TB, v *identity.Verifier, name, token, tenant string) {
	t.Helper()
	if got, err := v.Identify(t.Context(), header(token)); err != nil || got.Tenant != tenant {
		t.Errorf("%s: %+v, %v, want the tenant %q", name, got, err, tenant)
	}
}

func TestIdentify_ReadsTheTenantAndTheScopes(t *testing.T) {
	t.Parallel()
	i := issuer.New(t)
	got, err := verifier(t, i).Identify(t.Context(), header(i.Sign(i.Claims("acme", "projects:read other"))))
	if err != nil || got.Tenant != "acme" || !got.May(identity.ScopeRead) || got.May(identity.ScopeWrite) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestIdentify_SaysWhyAHeaderIsRefused(t *testing.T) {
	t.Parallel()
	i := issuer.New(t)
	v := verifier(t, i)
	good := i.Token("acme")
	for name, c := range map[string]struct {
		values []string
		reason string
	}{
		"none":           {nil, "missing"},
		"two":            {[]string{"Bearer " + good, "Bearer " + good}, "authorization"},
		"another scheme": {[]string{"Basic YTpi"}, "authorization"},
		"no token":       {[]string{"Bearer  "}, "authorization"},
		"too long":       {[]string{"Bearer " + good + strings.Repeat("a", 8<<10)}, "too_long"},
		"two parts":      {[]string{"Bearer a.b"}, "malformed"},
		"five parts":     {[]string{"Bearer a.b.c.d.e"}, "malformed"}, // Encrypted.
		"signatures":     {[]string{`Bearer {"payload":"e30","signatures":[{"protected":"e30","signature":""}],"a":".."}`}, "malformed"},
	} {
		_, err := v.Identify(t.Context(), http.Header{"Authorization": c.values})
		if !errors.Is(err, identity.ErrUnauthenticated) || identity.Reason(err) != c.reason {
			t.Errorf("%s: %v (%q), want it refused: %s", name, err, identity.Reason(err), c.reason)
		}
	}
	if got := identity.Reason(errors.New("another")); got != "" {
		t.Errorf("another error has the reason %q", got)
	}
}

func TestNewVerifier_RefusesAnotherIssuersDocument(t *testing.T) {
	t.Parallel()
	i := issuer.New(t)
	c := config(i)
	c.Issuer += "/"
	if _, err := identity.NewVerifier(t.Context(), c); err == nil {
		t.Error("no error")
	}
}
