package identity_test

import (
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/onceql/onceql/internal/identity"
	"github.com/onceql/onceql/internal/issuer"
)

func verifier(t *testing.T, i *issuer.Issuer) *identity.Verifier {
	t.Helper()
	v, err := identity.NewVerifier(t.Context(), identity.Config{Issuer: i.URL, Audience: issuer.Audience, TenantClaim: "sub"})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func header(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

func TestIdentify_ReadsTheTenantAndTheScopes(t *testing.T) {
	t.Parallel()
	i := issuer.New(t)
	got, err := verifier(t, i).Identify(t.Context(), header(i.Sign(i.Claims("acme", "projects:read other"))))
	if err != nil || got.Tenant != "acme" || !got.May(identity.ScopeRead) || got.May(identity.ScopeWrite) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestIdentify_FollowsARotation(t *testing.T) {
	t.Parallel()
	i := issuer.New(t)
	v := verifier(t, i)
	before := i.Token("acme")
	for _, id := range []string{"second", "third"} {
		if _, err := v.Identify(t.Context(), header(before)); err != nil {
			t.Error(err)
		}
		i.Rotate(id)
		if _, err := v.Identify(t.Context(), header(i.Token("acme"))); err != nil {
			t.Errorf("the key %s: %v", id, err)
		}
	}
}

func TestIdentify_GoesOnWithKnownKeysWhileTheIssuerIsDown(t *testing.T) {
	t.Parallel()
	i := issuer.New(t)
	v := verifier(t, i)
	known := i.Token("acme")
	if _, err := v.Identify(t.Context(), header(known)); err != nil {
		t.Fatal(err)
	}
	i.Down.Store(true)
	i.Rotate("second")
	if _, err := v.Identify(t.Context(), header(known)); err != nil {
		t.Errorf("a known key: %v", err)
	}
	if _, err := v.Identify(t.Context(), header(i.Token("acme"))); !errors.Is(err, identity.ErrUnavailable) {
		t.Errorf("a new key: %v, want ErrUnavailable", err)
	}
	i.Down.Store(false)
	if _, err := v.Identify(t.Context(), header(i.Token("acme"))); err != nil {
		t.Errorf("a new key, once the issuer is back: %v", err)
	}
}

func TestNewVerifier_WaitsForAnIssuerThatIsDown(t *testing.T) {
	t.Parallel()
	i := issuer.New(t)
	i.Down.Store(true)
	v, err := identity.NewVerifier(t.Context(), identity.Config{Issuer: i.URL, Audience: issuer.Audience, TenantClaim: "sub"})
	if !errors.Is(err, identity.ErrUnavailable) {
		t.Fatalf("error %v, want ErrUnavailable", err)
	}
	if _, err := v.Identify(t.Context(), header(i.Token("acme"))); !errors.Is(err, identity.ErrUnavailable) {
		t.Errorf("error %v, want ErrUnavailable", err)
	}
	i.Down.Store(false)
	deadline := time.Now().Add(10 * time.Second)
	for {
		if _, err = v.Identify(t.Context(), header(i.Token("acme"))); err == nil || time.Now().After(deadline) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		t.Error(err)
	}
}

func TestNewVerifier_RefusesAnotherIssuersDocument(t *testing.T) {
	t.Parallel()
	i := issuer.New(t)
	_, err := identity.NewVerifier(t.Context(), identity.Config{Issuer: i.URL + "/", Audience: issuer.Audience, TenantClaim: "sub"})
	if err == nil || errors.Is(err, identity.ErrUnavailable) {
		t.Errorf("error %v, want one of the configuration", err)
	}
}

// Made-up keys are no way to make the server ask its issuer over and over.
func TestIdentify_ABurstOfUnknownKeysAsksTheIssuerRarely(t *testing.T) {
	t.Parallel()
	i := issuer.New(t)
	v := verifier(t, i)
	if _, err := v.Identify(t.Context(), header(i.Token("acme"))); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	var callers sync.WaitGroup
	for range 20 {
		callers.Go(func() {
			for range 50 {
				forged := i.SignWith("ES256", i.NewKey("unknown"), i.Claims("acme", "projects:write"), nil)
				if _, err := v.Identify(t.Context(), header(forged)); !errors.Is(err, identity.ErrUnauthenticated) {
					t.Errorf("error %v, want ErrUnauthenticated", err)
				}
			}
		})
	}
	callers.Wait()
	if n, most := int(i.Fetches.Load()), 12+int(time.Since(begin)/time.Second); n > most {
		t.Errorf("1000 tokens made %d requests for keys, want at most %d", n, most)
	}
	if _, err := v.Identify(t.Context(), header(i.Token("acme"))); err != nil {
		t.Errorf("a good token after the burst: %v", err)
	}
}

func TestIdentify_RefusesAWithdrawnKey(t *testing.T) {
	t.Parallel()
	i := issuer.New(t)
	v := verifier(t, i)
	old := i.Token("acme")
	if _, err := v.Identify(t.Context(), header(old)); err != nil {
		t.Fatal(err)
	}
	i.Rotate("second")
	i.Withdraw()
	if _, err := v.Identify(t.Context(), header(i.Token("acme"))); err != nil {
		t.Error(err)
	}
	if _, err := v.Identify(t.Context(), header(old)); !errors.Is(err, identity.ErrUnauthenticated) {
		t.Errorf("a withdrawn key: %v, want ErrUnauthenticated", err)
	}
}
