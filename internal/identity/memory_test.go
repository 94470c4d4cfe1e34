package identity_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/onceql/onceql/internal/identity"
	"github.com/onceql/onceql/internal/issuer"
)

// wantRemembered has the token let through, by what is remembered of it.
func wantRemembered(t *testing.T, v *identity.Verifier, name, token string) {
	t.Helper()
	wantTenant(t, v, name, token, "acme")
	if !v.Remembers(token) {
		t.Errorf("%s: the token is not remembered", name)
	}
	wantTenant(t, v, name+", again", token, "acme")
}

// What is remembered is good while the very key that verified it is the issuer's.
func TestRemembered_AreGoodWhileTheirKeyIs(t *testing.T) {
	public := func(k *issuer.Key) jose.JSONWebKey {
		return jose.JSONWebKey{Key: k.Private.(*ecdsa.PrivateKey).Public(), KeyID: k.ID}
	}
	for name, c := range map[string]struct {
		// change publishes something else, which may be the same key.
		change func(*issuer.Issuer, jose.JSONWebKey)
		reason string
	}{
		"nothing changes":      {func(*issuer.Issuer, jose.JSONWebKey) {}, ""},
		"another key comes":    {func(i *issuer.Issuer, _ jose.JSONWebKey) { i.Rotate("another") }, ""},
		"it moves to the end":  {func(i *issuer.Issuer, k jose.JSONWebKey) { i.Rotate("another"); i.Publish(k); i.Withdraw() }, ""},
		"it is withdrawn":      {func(i *issuer.Issuer, _ jose.JSONWebKey) { i.Rotate("another"); i.Withdraw() }, "key"},
		"another has its name": {func(i *issuer.Issuer, _ jose.JSONWebKey) { i.Rotate("own"); i.Withdraw() }, "signature"},
		"it has another name":  {func(i *issuer.Issuer, k jose.JSONWebKey) { k.KeyID = "another"; i.Publish(k); i.Withdraw() }, "key"},
		"it loses its name":    {func(i *issuer.Issuer, k jose.JSONWebKey) { k.KeyID = ""; i.Publish(k); i.Withdraw() }, "key"},
		"it is for another use": {func(i *issuer.Issuer, k jose.JSONWebKey) {
			k.Use = "enc"
			i.Publish(k)
			i.Withdraw()
			i.Rotate("another")
		}, "key"},
		"it is for another method": {func(i *issuer.Issuer, k jose.JSONWebKey) { k.Algorithm = "ES384"; i.Publish(k); i.Withdraw() }, "signature"},
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T, i *issuer.Issuer) {
				own := i.NewKey("own")
				i.Publish(public(own))
				v := verifier(t, i)
				token := i.SignWith(jose.ES256, own, claimsForDays(i), nil)
				wantRemembered(t, v, "before", token)
				c.change(i, public(own))
				time.Sleep(5 * time.Minute)
				if c.reason == "" {
					if !v.Remembers(token) {
						t.Error("the same key is taken for another")
					}
					wantTenant(t, v, "after", token, "acme")
					return
				}
				if v.Remembers(token) {
					t.Error("the token is remembered")
				}
				wantRefused(t, v, "after", token, c.reason)
			})
		})
	}
}

func claimsForDays(i *issuer.Issuer) map[string]any {
	claims := i.Claims("acme", "projects:read")
	claims["exp"] = time.Now().Add(48 * time.Hour).Unix()
	return claims
}

// A fetch with an unknown key's token brings a withdrawal along.
func TestRemembered_AreForgottenByTheFetchThatWithdrawsTheirKey(t *testing.T) {
	inTime(t, func(t *testing.T, i *issuer.Issuer) {
		v := verifier(t, i)
		old, nameless := long(i), i.SignText(`{"alg":"ES256"}`, claimsText(t, i))
		wantRemembered(t, v, "old", old)
		wantRemembered(t, v, "nameless", nameless)
		i.Rotate("second")
		i.Withdraw()
		wantRemembered(t, v, "before the fetch", old)
		wantTenant(t, v, "what causes it", i.Token("acme"), "acme")
		wantRefused(t, v, "after the fetch", old, "key")
		wantRefused(t, v, "after the fetch", nameless, "key")
	})
}

// A key that comes back is a new one.
func TestRemembered_AreVerifiedAnewWhenTheirKeyComesBack(t *testing.T) {
	inTime(t, func(t *testing.T, i *issuer.Issuer) {
		own := i.NewKey("own")
		public := jose.JSONWebKey{Key: own.Private.(*ecdsa.PrivateKey).Public(), KeyID: "own"}
		i.Publish(public)
		v := verifier(t, i)
		token := i.SignWith(jose.ES256, own, claimsForDays(i), nil)
		wantRemembered(t, v, "at first", token)
		i.Rotate("second")
		i.Withdraw()
		time.Sleep(5 * time.Minute)
		i.Publish(public)
		time.Sleep(5 * time.Minute)
		if v.Remembers(token) {
			t.Error("it is remembered from before")
		}
		wantRemembered(t, v, "again", token)
	})
}

func TestRemembered_AreGoodForAnHourWithoutTheIssuer(t *testing.T) {
	inTime(t, func(t *testing.T, i *issuer.Issuer) {
		v := verifier(t, i)
		token := long(i)
		wantRemembered(t, v, "at first", token)
		i.Down.Store(true)
		time.Sleep(time.Hour - time.Second)
		wantRemembered(t, v, "for an hour", token)
		time.Sleep(2 * time.Second)
		wantUnavailable(t, v, "after an hour", token)
		i.Down.Store(false)
		time.Sleep(31 * time.Second)
		wantRemembered(t, v, "once the issuer is back", token)
	})
}

func TestRemembered_ExpireWithTheirTokens(t *testing.T) {
	inTime(t, func(t *testing.T, i *issuer.Issuer) {
		v := verifier(t, i)
		claims := i.Claims("acme", "")
		claims["exp"] = time.Now().Add(time.Minute).Unix()
		token := i.Sign(claims)
		wantRemembered(t, v, "at first", token)
		time.Sleep(time.Minute - time.Nanosecond)
		wantRemembered(t, v, "until the last moment", token)
		time.Sleep(time.Nanosecond)
		wantRefused(t, v, "at its end", token, "expired")
		if n := v.Remembered(); n != 0 {
			t.Errorf("%d tokens are remembered", n)
		}
	})
}

// A fetch reads the keys anew; those that are the same stay the same, of every kind.
func TestRemembered_StayAsTheKeysAreFetched(t *testing.T) {
	edPublic, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	strong, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	inTime(t, func(t *testing.T, i *issuer.Issuer) {
		i.Publish(jose.JSONWebKey{KeyID: "rsa", Key: strong.Public()})
		i.Publish(jose.JSONWebKey{KeyID: "p384", Key: p384.Public()})
		i.Publish(jose.JSONWebKey{KeyID: "ed25519", Key: edPublic})
		v := verifier(t, i)
		for algorithm, key := range map[jose.SignatureAlgorithm]*issuer.Key{
			jose.RS256: {ID: "rsa", Private: strong}, jose.ES384: {ID: "p384", Private: p384}, jose.EdDSA: {ID: "ed25519", Private: ed},
		} {
			token := i.SignWith(algorithm, key, claimsForDays(i), nil)
			wantRemembered(t, v, key.ID, token)
			time.Sleep(10 * time.Minute)
			if !v.Remembers(token) {
				t.Errorf("%s: the same key is taken for another", key.ID)
			}
		}
	})
}

// One good token helps no other: each is remembered by its whole text, and only once it
// was accepted.
func TestRemembered_AreGoodTokensAlone(t *testing.T) {
	inTime(t, func(t *testing.T, i *issuer.Issuer) {
		v := verifier(t, i)
		good := i.Token("acme")
		changed := func(name string, value any) string {
			claims := i.Claims("acme", "projects:read")
			claims[name] = value
			return i.Sign(claims)
		}
		tokens := map[string]string{
			good[:len(good)-4] + "AAAA": "signature",
			good + "AAAA":               "signature",
			good + "==":                 "malformed",
			i.SignWith(jose.ES256, i.NewKey("first"), i.Claims("acme", ""), nil):   "signature",
			i.SignWith(jose.ES256, i.NewKey("unknown"), i.Claims("acme", ""), nil): "key",
			changed("aud", "another"):                  "audience",
			changed("iss", "another"):                  "issuer",
			changed("exp", time.Now().Unix()):          "expired",
			changed("nbf", time.Now().Unix()+61):       "not_yet",
			changed("sub", ""):                         "tenant",
			changed("scope", 7):                        "scope",
			i.SignText(`{"alg":"ES256"}`, `{"aud":1,`): "claims",
		}
		for range 2 {
			for token, reason := range tokens {
				wantRefused(t, v, reason, token, reason)
			}
			if n := v.Remembered(); n != 0 {
				t.Errorf("%d tokens that are refused are remembered", n)
			}
		}
		wantRemembered(t, v, "the good one", good)
		for token, reason := range tokens {
			wantRefused(t, v, reason, token, reason)
		}
		if n := v.Remembered(); n != 1 {
			t.Errorf("%d tokens are remembered, want the good one", n)
		}
		time.Sleep(61 * time.Second)
		for token, reason := range tokens {
			if reason == "not_yet" {
				wantRemembered(t, v, "once it is valid", token)
			}
		}
	})
}

// Each token has its own tenant and scopes.
func TestRemembered_HaveWhatTheirTokensSay(t *testing.T) {
	inTime(t, func(t *testing.T, i *issuer.Issuer) {
		v := verifier(t, i)
		for range 3 {
			for _, tenant := range []string{"acme", "globex"} {
				for scopes, may := range map[string][2]bool{
					"": {}, "projects:read": {true, false}, "projects:write other": {false, true}, "projects:write projects:read": {true, true},
				} {
					got, err := v.Identify(t.Context(), header(i.SignText(`{"alg":"ES256"}`, claimsOf(i, tenant, scopes))))
					if err != nil || got.Tenant != tenant || [2]bool{got.May(identity.ScopeRead), got.May(identity.ScopeWrite)} != may {
						t.Errorf("%q of %s: %+v, %v", scopes, tenant, got, err)
					}
				}
			}
		}
	})
}

func claimsOf(i *issuer.Issuer, tenant, scopes string) string {
	return fmt.Sprintf(`{"iss":%q,"aud":%q,"sub":%q,"scope":%q,"exp":%d}`, i.URL, issuer.Audience, tenant, scopes, time.Now().Add(time.Hour).Unix())
}

// One tenant's tokens, however many they are, push out none that is in use.
func TestRemembered_AreOfABoundedNumberAndThoseInUseStay(t *testing.T) {
	inTime(t, func(t *testing.T, i *issuer.Issuer) {
		v := verifier(t, i)
		const most = 40
		v.Remember(most)
		used := i.Token("acme")
		wantRemembered(t, v, "at first", used)
		for n := range 10 * most {
			claims := i.Claims("flood", "")
			claims["jti"] = n
			wantTenant(t, v, "one of many", i.Sign(claims), "flood")
			if n%(most-1) == 0 && !v.Remembers(used) {
				t.Fatalf("the token in use is forgotten after %d others", n)
			}
			if n := v.Remembered(); n > most {
				t.Fatalf("%d tokens are remembered, want at most %d", n, most)
			}
		}
		if identity.MostRemembered > 1<<15 {
			t.Errorf("%d tokens are remembered: they would take tens of megabytes", identity.MostRemembered)
		}
	})
}

// BenchmarkIdentify is what a request's token costs, seen before and not.
func BenchmarkIdentify(b *testing.B) {
	i := issuer.NewInMemory(b)
	v := verifier(b, i)
	b.Run("again", func(b *testing.B) {
		header := header(i.Token("acme"))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.Identify(b.Context(), header); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("first", func(b *testing.B) {
		var tokens []string
		for n := range 2000 {
			claims := i.Claims("acme", "projects:read projects:write")
			claims["jti"] = n
			tokens = append(tokens, i.Sign(claims))
		}
		// Two generations of two are none of two thousand.
		v.Remember(2)
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			if _, err := v.Identify(b.Context(), header(tokens[n%len(tokens)])); err != nil {
				b.Fatal(err)
			}
		}
	})
}
