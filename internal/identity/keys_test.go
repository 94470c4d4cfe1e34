package identity_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onceql/onceql/internal/identity"
	"github.com/onceql/onceql/internal/issuer"
)

// inTime runs the test with an issuer in memory and the test's own clock.
func inTime(t *testing.T, test func(*testing.T, *issuer.Issuer)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { test(t, issuer.NewInMemory(t)) })
}

// long signs a token of acme that outlives the test.
func long(i *issuer.Issuer) string {
	claims := i.Claims("acme", "projects:read")
	claims["exp"] = time.Now().Add(48 * time.Hour).Unix()
	return i.Sign(claims)
}

func wantUnavailable(t *testing.T, v *identity.Verifier, name, token string) {
	t.Helper()
	_, err := v.Identify(t.Context(), header(token))
	if !errors.Is(err, identity.ErrUnavailable) || identity.Reason(err) != "unavailable" {
		t.Errorf("%s: %v, want ErrUnavailable", name, err)
	}
}

func TestKeys_FollowARotation(t *testing.T) {
	inTime(t, func(t *testing.T, i *issuer.Issuer) {
		v := verifier(t, i)
		before := i.Token("acme")
		for _, id := range []string{"second", "third"} {
			wantTenant(t, v, "before", before, "acme")
			i.Rotate(id)
			wantTenant(t, v, id, i.Token("acme"), "acme")
		}
		// A token that names no key may be of one that is not known yet.
		i.Rotate("fourth")
		wantTenant(t, v, "no kid", i.SignText(`{"alg":"ES256"}`, claimsText(t, i)), "acme")
	})
}

// Nobody sends a request in between, whenever in the period the key is withdrawn.
func TestKeys_AWithdrawnOneIsRefusedWithinFiveMinutesOfSilence(t *testing.T) {
	for _, after := range []time.Duration{0, time.Second, 3 * time.Minute, 4 * time.Minute, time.Hour} {
		t.Run(after.String(), func(t *testing.T) {
			inTime(t, func(t *testing.T, i *issuer.Issuer) {
				v := verifier(t, i)
				old := long(i)
				wantTenant(t, v, "at first", old, "acme")
				i.Rotate("second")
				time.Sleep(after)
				i.Withdraw()
				time.Sleep(5 * time.Minute)
				i.Down.Store(true) // It is refused by what is known.
				fetched := i.Fetches.Load()
				if _, err := v.Identify(t.Context(), header(i.Token("acme"))); err != nil {
					t.Errorf("the key that is left: %v", err)
				}
				if n := i.Fetches.Load(); n != fetched {
					t.Errorf("a known key made %d requests", n-fetched)
				}
				i.Down.Store(false)
				wantRefused(t, v, "withdrawn", old, "key")
			})
		})
	}
}

// Silence costs a request each few minutes, by one goroutine that ends with the
// server: synctest fails for one that does not.
func TestKeys_AreFetchedByTimeUntilTheServerStops(t *testing.T) {
	inTime(t, func(t *testing.T, i *issuer.Issuer) {
		verifier(t, i)
		time.Sleep(time.Hour)
		if n := i.Fetches.Load(); n < 15 || n > 21 {
			t.Errorf("an hour made %d requests, want one in 3 to 4 minutes", n)
		}
	})
}

// What is no set of keys must not withdraw those that are known.
func TestKeys_AFetchThatFailsKeepsTheKnownOnes(t *testing.T) {
	key := `{"kty":"EC","crv":"P-256","kid":"first","use":"sig","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}`
	for name, answer := range map[string]string{
		"no keys":             `{"keys":[]}`,
		"keys null":           `{"keys":null}`,
		"null":                `null`,
		"nothing":             ``,
		"an empty object":     `{}`,
		"another case":        `{"KEYS":[` + key + `]}`,
		"keys twice":          `{"keys":[` + key + `],"keys":[` + key + `]}`,
		"a list":              `[` + key + `]`,
		"a page":              `<html>down for maintenance</html>`,
		"more after it":       `{"keys":[` + key + `]}{}`,
		"a cut document":      `{"keys":[` + key,
		"keys of no use":      `{"keys":[7,null,{},{"kty":"oct","k":"c2VjcmV0","kid":"first"},{"kty":"new"}]}`,
		"an encryption's key": `{"keys":[` + strings.Replace(key, `"sig"`, `"enc"`, 1) + `]}`,
		"a key that wraps":    `{"keys":[` + strings.Replace(key, `"use":"sig"`, `"key_ops":["wrapKey"]`, 1) + `]}`,
		"another's key type":  `{"keys":[` + strings.Replace(key, `"EC"`, `"RSA"`, 1) + `]}`,
		"a key off its curve": `{"keys":[` + strings.Replace(key, `"x":"MK`, `"x":"NK`, 1) + `]}`,
		"too many keys":       `{"keys":[` + strings.Repeat(key+",", 100) + key + `]}`,
		"a document of 2 MB":  `{"keys":[` + key + `]}` + strings.Repeat(" ", 2<<20),
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T, i *issuer.Issuer) {
				v := verifier(t, i)
				known := long(i)
				i.AnswerKeys(answer)
				time.Sleep(5 * time.Minute)
				wantTenant(t, v, "a known key", known, "acme")
				i.Rotate("second")
				wantUnavailable(t, v, "a new key", i.Token("acme"))
				i.Keys.Store(nil)
				wantTenant(t, v, "a new key, once there are keys", i.Token("acme"), "acme")
			})
		})
	}
}

func TestKeys_ThatTheIssuerDoesNotConfirmAreGoodForAnHour(t *testing.T) {
	inTime(t, func(t *testing.T, i *issuer.Issuer) {
		var told []identity.KeysState
		c := config(i)
		c.Changed = func(state identity.KeysState, _ error) { told = append(told, state) }
		v, err := identity.NewVerifier(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		known := long(i)
		i.Down.Store(true)
		time.Sleep(time.Hour - time.Second)
		wantTenant(t, v, "for an hour", known, "acme")
		time.Sleep(2 * time.Second)
		wantUnavailable(t, v, "after an hour", known)
		time.Sleep(30 * time.Second)
		i.Down.Store(false)
		time.Sleep(31 * time.Second)
		wantTenant(t, v, "once the issuer is back", known, "acme")
		if want := []identity.KeysState{identity.KeysOld, identity.KeysMissing, identity.KeysCurrent}; !slices.Equal(told, want) {
			t.Errorf("told %v, want %v", told, want)
		}
	})
}

func TestKeys_FailuresAreTriedAgainLessAndLessOften(t *testing.T) {
	inTime(t, func(t *testing.T, i *issuer.Issuer) {
		var requests atomic.Int32
		i.Discovery.Store(new(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			requests.Add(1)
			w.WriteHeader(http.StatusServiceUnavailable)
		})))
		v := verifier(t, i)
		wantUnavailable(t, v, "an issuer that is down from the start", i.Token("acme"))
		time.Sleep(time.Hour)
		if n := requests.Load(); n < 120 || n > 180 {
			t.Errorf("an hour of failures made %d requests, want one in 23 to 30 seconds", n)
		}
		i.Discovery.Store(nil)
		time.Sleep(31 * time.Second)
		i.Down.Store(true)
		wantTenant(t, v, "without a request in between", i.Token("acme"), "acme")
	})
}

// The answer of an issuer is bounded in time, and those who wait for it in number.
func TestKeys_AnIssuerThatHangsHoldsUpNobodyForLong(t *testing.T) {
	inTime(t, func(t *testing.T, i *issuer.Issuer) {
		v := verifier(t, i)
		known := long(i)
		i.Keys.Store(new(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })))
		i.Rotate("second")
		unknown := i.Token("acme")
		begin := time.Now()
		wantUnavailable(t, v, "a new key", unknown)
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("it took %s", took)
		}
		var waited atomic.Int32
		var callers sync.WaitGroup
		for range 100 {
			callers.Go(func() {
				begin := time.Now()
				wantUnavailable(t, v, "one of many", unknown)
				if time.Since(begin) > 0 {
					waited.Add(1)
				}
				wantTenant(t, v, "a known key", known, "acme")
			})
		}
		callers.Wait()
		if n := waited.Load(); n > 2 {
			t.Errorf("%d of 100 callers waited, want those of the fetch under way and of the next", n)
		}
	})
}

// Made-up keys are no way to make the server ask its issuer over and over, nor to
// have a good token refused.
func TestKeys_ABurstOfUnknownOnesAsksTheIssuerRarely(t *testing.T) {
	inTime(t, func(t *testing.T, i *issuer.Issuer) {
		v := verifier(t, i)
		begin := time.Now()
		var callers sync.WaitGroup
		for range 20 {
			callers.Go(func() {
				for range 25 {
					forged := i.SignWith("ES256", i.NewKey("unknown"), i.Claims("acme", "projects:write"), nil)
					wantRefused(t, v, "an unknown key", forged, "key")
				}
			})
		}
		time.Sleep(5 * time.Second)
		i.Rotate("second")
		wantTenant(t, v, "a new key amid the burst", i.Token("acme"), "acme")
		callers.Wait()
		if n, most := int(i.Fetches.Load()), 12+int(time.Since(begin)/time.Second); n > most {
			t.Errorf("500 tokens made %d requests for keys in %s, want at most %d", n, time.Since(begin), most)
		}
	})
}

// Whoever makes keys up holds a bounded number of requests, and the others are told to
// come again: a good token among them is not refused for good.
func TestKeys_ABoundedNumberOfRequestsWaitForThem(t *testing.T) {
	inTime(t, func(t *testing.T, i *issuer.Issuer) {
		v := verifier(t, i)
		hold := make(chan struct{})
		i.Keys.Store(new(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			<-hold
			w.WriteHeader(http.StatusServiceUnavailable)
		})))
		forged := i.SignWith("ES256", i.NewKey("unknown"), i.Claims("acme", ""), nil)
		var ended atomic.Int32
		var callers sync.WaitGroup
		for range 1200 {
			callers.Go(func() {
				wantUnavailable(t, v, "an unknown key", forged)
				ended.Add(1)
			})
		}
		synctest.Wait()
		if n := ended.Load(); n != 200 {
			t.Errorf("%d of 1200 were answered at once, want all but 1000", n)
		}
		close(hold)
		callers.Wait()
		i.Keys.Store(nil)
		wantRefused(t, v, "afterwards", forged, "key")
	})
}

// A server that drains answers tokens of known keys, and does not wait for others.
func TestKeys_NobodyWaitsForThemOnceTheServerStops(t *testing.T) {
	inTime(t, func(t *testing.T, i *issuer.Issuer) {
		ctx, stop := context.WithCancel(t.Context())
		v, err := identity.NewVerifier(ctx, config(i))
		if err != nil {
			t.Fatal(err)
		}
		known := i.Token("acme")
		stop()
		synctest.Wait()
		i.Rotate("second")
		wantUnavailable(t, v, "a new key", i.Token("acme"))
		wantTenant(t, v, "a known key", known, "acme")
	})
}

func TestKeys_RedirectsAreFollowedAFewTimes(t *testing.T) {
	inTime(t, func(t *testing.T, i *issuer.Issuer) {
		v := verifier(t, i)
		var redirects atomic.Int32
		i.Keys.Store(new(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			redirects.Add(1)
			http.Redirect(w, r, "/keys", http.StatusFound)
		})))
		i.Rotate("second")
		wantUnavailable(t, v, "a circle", i.Token("acme"))
		if n := redirects.Load(); n != 4 {
			t.Errorf("%d requests, want the first and three more", n)
		}
	})
}

func TestKeys_AreWhereTheDiscoveryDocumentSays(t *testing.T) {
	for name, document := range map[string]string{
		"no place":          `{"issuer":"ISSUER"}`,
		"a relative place":  `{"issuer":"ISSUER","jwks_uri":"/keys"}`,
		"a file":            `{"issuer":"ISSUER","jwks_uri":"file:///etc/passwd"}`,
		"two places":        `{"issuer":"ISSUER","jwks_uri":"ISSUER/keys","jwks_uri":"ISSUER/keys"}`,
		"another's":         `{"issuer":"https://issuer.example","jwks_uri":"ISSUER/keys"}`,
		"none":              `null`,
		"another case":      `{"Issuer":"ISSUER","JWKS_URI":"ISSUER/keys"}`,
		"a place of no use": `{"issuer":"ISSUER","jwks_uri":7}`,
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T, i *issuer.Issuer) {
				v := verifier(t, i)
				i.Discovery.Store(new(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					_, _ = w.Write([]byte(strings.ReplaceAll(document, "ISSUER", i.URL)))
				})))
				known := i.Token("acme")
				i.Rotate("second")
				wantUnavailable(t, v, "a new key", i.Token("acme"))
				wantTenant(t, v, "a known key", known, "acme")
			})
		})
	}
}
