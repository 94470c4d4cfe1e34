package e2e_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/onceql/onceql/internal/issuer"
	"github.com/onceql/onceql/internal/pgtest"
)

// serveTo starts a server that accepts the issuer's tokens.
func serveTo(t testing.TB, i *issuer.Issuer, databaseURL string, env ...string) *server {
	t.Helper()
	return serve(t, databaseURL, append([]string{"AUTH_ISSUER=" + i.URL, "AUTH_AUDIENCE=" + issuer.Audience}, env...)...)
}

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

func TestTokens_ThatAreNotGoodAreRefusedAndNothingIsExecuted(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	i := issuer.New(t)
	s, d := serveTo(t, i, url), connect(t, url)
	const all = "projects:read projects:write"
	claims := func(change func(map[string]any)) string {
		c := i.Claims("acme", all)
		change(c)
		return i.Sign(c)
	}
	set := func(name string, value any) string { return claims(func(c map[string]any) { c[name] = value }) }
	without := func(name string) string { return claims(func(c map[string]any) { delete(c, name) }) }
	unsigned := func(header, payload string) string {
		encode := base64.RawURLEncoding.EncodeToString
		return encode([]byte(header)) + "." + encode([]byte(payload)) + "."
	}
	good := i.Token("acme")
	stranger := i.NewKey("first") // It calls itself as the issuer's key does.
	public := stranger.Private.(*ecdsa.PrivateKey).Public()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	shared := &issuer.Key{ID: "first", Private: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})}
	payload := fmt.Sprintf(`{"iss":%q,"aud":%q,"sub":"acme","scope":%q,"exp":%d}`, i.URL, issuer.Audience, all, time.Now().Add(time.Hour).Unix())
	const plain = `{"alg":"ES256","typ":"JWT","kid":"first"}`
	// What is signed is the payload with that in place of the other, whatever it is.
	text := func(old, instead string) string {
		if !strings.Contains(payload, old) {
			t.Fatalf("%q is no part of %q", old, payload)
		}
		return i.SignText(plain, strings.Replace(payload, old, instead, 1))
	}
	headed := func(header string) string { return i.SignText(header, payload) }
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	i.Publish(jose.JSONWebKey{Key: weak.Public(), KeyID: "weak", Use: "sig"})

	for name, token := range map[string]string{
		"alg none":                  unsigned(`{"alg":"none","typ":"JWT"}`, payload),
		"alg None":                  unsigned(`{"alg":"None","kid":"first"}`, payload),
		"HS256 with the public key": i.SignWith(jose.HS256, shared, i.Claims("acme", all), nil),
		"another's key":             i.SignWith(jose.ES256, stranger, i.Claims("acme", all), nil),
		"unknown kid":               i.SignWith(jose.ES256, i.NewKey("nobody's"), i.Claims("acme", all), nil),
		"kid with a path":           i.SignWith(jose.ES256, i.NewKey("../../../../etc/passwd"), i.Claims("acme", all), nil),
		"kid with SQL":              i.SignWith(jose.ES256, i.NewKey("' or 1=1 --"), i.Claims("acme", all), nil),
		"jku": i.SignWith(jose.ES256, stranger, i.Claims("acme", all), map[jose.HeaderKey]any{
			"jku": i.URL + "/keys", "jwk": jose.JSONWebKey{Key: public},
		}),
		"wrong iss":              set("iss", "https://issuer.example"),
		"no iss":                 without("iss"),
		"wrong aud":              set("aud", "another"),
		"no aud":                 without("aud"),
		"expired":                set("exp", time.Now().Add(-time.Minute).Unix()),
		"no exp":                 without("exp"),
		"exp as text":            set("exp", "tomorrow"),
		"not yet valid":          set("nbf", time.Now().Add(time.Hour).Unix()),
		"valid in three minutes": set("nbf", time.Now().Add(3*time.Minute).Unix()),
		"no tenant":              without("sub"),
		"empty tenant":           set("sub", ""),
		"tenant as a list":       set("sub", []string{"acme"}),
		"tenant as a number":     set("sub", 7),
		"tenant with NUL":        set("sub", "acme\x00"),
		"tenant without end":     set("sub", strings.Repeat("a", 256)),
		"AUD":                    text(`"aud"`, `"AUD"`),
		"ISS":                    text(`"iss"`, `"ISS"`),
		"EXP":                    text(`"exp"`, `"EXP"`),
		"SUB":                    text(`"sub"`, `"SUB"`),
		"aud and AUD":            text(`"aud":`, `"aud":"another","AUD":`),
		"iss and ISS":            text(`"iss":`, `"iss":"https://issuer.example","ISS":`),
		"exp and EXP":            text(`"exp":`, `"exp":1,"EXP":`),
		"two aud":                text(`"aud":`, `"aud":"another","aud":`),
		"two aud, one escaped":   text(`"aud":`, `"\u0061ud":"another","aud":`),
		"two sub":                text(`"sub":`, `"sub":"globex","sub":`),
		"two exp":                text(`"exp":`, `"exp":1,"exp":`),
		"nbf of 1e300":           text(`"exp":`, `"nbf":1e300,"exp":`),
		"nbf below zero":         text(`"exp":`, `"nbf":-1,"exp":`),
		"nbf as text":            text(`"exp":`, `"nbf":"9999999999","exp":`),
		"nbf null":               text(`"exp":`, `"nbf":null,"exp":`),
		"exp as a number's text": text(`"exp":`, `"exp":"9999999999","_":`),
		"exp of 1e300":           text(`"exp":`, `"exp":1e300,"_":`),
		"exp of milliseconds":    text(`"exp":`, `"exp":99999999999999,"_":`),
		"half of a pair":         text(`"acme"`, `"\ud800"`),
		"the pair's other half":  text(`"acme"`, `"\udc00"`),
		"half a pair in UTF-8":   text(`"acme"`, "\"\xed\xa0\x80\""),
		"no UTF-8":               text(`"acme"`, "\"acme\xff\""),
		"scope as a number":      text(`"scope":`, `"scope":7,"_":`),
		"more after the claims":  i.SignText(plain, payload+"{}"),
		"a token in a token":     i.SignText(plain, good),
		"RSA with 1024 bits":     i.SignWith(jose.RS256, &issuer.Key{ID: "weak", Private: weak}, i.Claims("acme", all), nil),
		"another typ":            headed(`{"alg":"ES256","typ":"logout+jwt","kid":"first"}`),
		"no typ but null":        headed(`{"alg":"ES256","typ":null,"kid":"first"}`),
		"cty":                    headed(`{"alg":"ES256","cty":"JWT","kid":"first"}`),
		"crit":                   headed(`{"alg":"ES256","crit":["b64"],"b64":true,"kid":"first"}`),
		"b64 without crit":       headed(`{"alg":"ES256","b64":true,"kid":"first"}`),
		"two alg":                headed(`{"alg":"none","alg":"ES256","kid":"first"}`),
		"ALG":                    headed(`{"ALG":"ES256","kid":"first"}`),
		"alg of another key":     headed(`{"alg":"RS256","kid":"first"}`),
		"padding":                good + "==",
		"garbage at its end":     good + "!",
		"cut signature":          good[:len(good)-10],
		"changed payload":        strings.Replace(good, ".", ".e30", 1),
		"a flood of periods":     strings.Repeat(".", 7000),
		"9 kB":                   good + strings.Repeat("a", 9<<10),
		"empty":                  "",
		"white space":            "   ",
		"two tokens":             good + " " + good,
		"no JSON Web Token":      "abc",
	} {
		begin := time.Now()
		a := s.send(create("k", "Apollo"), bearer(token)...)
		if a.status != 401 || a.code() != "UNAUTHENTICATED" || a.failure().Retryable || a.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
		if took := time.Since(begin); took > testTimeout/10 {
			t.Errorf("%s: refused after %s", name, took)
		}
	}
	if a := s.send(create("k", "Apollo")); a.status != 401 || !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer") {
		t.Errorf("no token: %d %s", a.status, a.raw)
	}
	if a := s.send(create("k", "Apollo"), "Authorization", "Basic YTpi"); a.status != 401 {
		t.Errorf("another scheme: %d %s", a.status, a.raw)
	}
	if status, _ := s.exchange(t, "POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"+
		"Authorization: Bearer "+good+"\r\nAuthorization: Bearer "+good+"\r\nConnection: close\r\n\r\n{}"); status != 401 {
		t.Errorf("two headers Authorization: status %d", status)
	}
	if status, _ := s.exchange(t, "POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"+
		"Authorization: Bearer "+strings.Repeat("a", 1<<20)+"\r\nConnection: close\r\n\r\n{}"); status != 431 {
		t.Errorf("a token of 1 MB: status %d", status)
	}
	d.wantStored(0, 0)
	// The texts by themselves are good: each is refused for what it changes.
	wantStatus(t, s.send(create("k", "Apollo"), bearer(headed(plain))...), "EXECUTED")
	wantStatus(t, s.send(create("k", "Apollo"), bearer(good)...), "REPLAYED")
	wantStatus(t, s.send(create("k", "Apollo"), bearer(headed(`{"alg":"ES256","typ":"at+jwt"}`))...), "REPLAYED")
	wantSoundLog(t, s, good, "Apollo", "etc/passwd", "or 1=1")
}

// Who may no longer call gets no replay either.
func TestScopes_AreCheckedBeforeTheKeyIsLookedUp(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	i := issuer.New(t)
	s, d := serveTo(t, i, url), connect(t, url)
	wantStatus(t, s.send(create("k", "Apollo"), bearer(i.Token("acme"))...), "EXECUTED")
	read := request{Query: `{ idempotentCall(key: "k") { key } }`}
	for name, c := range map[string]struct {
		scopes  string
		request request
		allowed bool
	}{
		"a mutation with write":     {"projects:write", create("k", "Apollo"), true},
		"a mutation with read":      {"projects:read", create("k", "Apollo"), false},
		"a new mutation with read":  {"projects:read", create("k2", "Apollo"), false},
		"a reused key with read":    {"projects:read", create("k", "Gemini"), false},
		"a mutation without scopes": {"", create("k", "Apollo"), false},
		"a longer scope's name":     {"projects:writer xprojects:write", create("k", "Apollo"), false},
		"a query with read":         {"projects:read", read, true},
		"a query with write":        {"projects:write", read, false},
	} {
		a := s.send(c.request, bearer(i.Sign(i.Claims("acme", c.scopes)))...)
		if c.allowed && len(a.Errors) > 0 || !c.allowed && (a.code() != "FORBIDDEN" || len(a.Extensions.Idempotency) > 0) {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	// Each form that issuers have for them; `scope` counts where there are both.
	for _, c := range []struct {
		scope, scp any
		allowed    bool
	}{
		{[]string{"other", "projects:write"}, nil, true},
		{nil, "other projects:write", true},
		{nil, []string{"projects:write"}, true},
		{"projects:read", "projects:write", false},
		{[]string{"projects:read projects:write"}, nil, false},
		{nil, nil, false},
	} {
		claims := i.Claims("acme", "")
		for name, value := range map[string]any{"scope": c.scope, "scp": c.scp} {
			if claims[name] = value; value == nil {
				delete(claims, name)
			}
		}
		a := s.send(create("k", "Apollo"), bearer(i.Sign(claims))...)
		if c.allowed {
			wantStatus(t, a, "REPLAYED")
		} else {
			wantCode(t, a, "FORBIDDEN")
		}
	}
	d.wantStored(1, 1)
}

func TestTokens_NewKeysNeedTheIssuerAndKnownOnesDoNot(t *testing.T) {
	t.Parallel()
	i := issuer.New(t)
	s := serveTo(t, i, pgtest.URL(t))
	known := i.Token("acme")
	wantStatus(t, s.send(create("k", "Apollo"), bearer(known)...), "EXECUTED")
	i.Down.Store(true)
	i.Rotate("second")
	wantStatus(t, s.send(create("k", "Apollo"), bearer(known)...), "REPLAYED")
	a := s.send(create("k", "Apollo"), bearer(i.Token("acme"))...)
	if a.status != 503 || a.code() != "UNAVAILABLE" || !a.failure().Retryable || a.header.Get("Retry-After") == "" {
		t.Errorf("a new key while the issuer is down: %d %s", a.status, a.raw)
	}
	i.Down.Store(false)
	wantStatus(t, s.send(create("k", "Apollo"), bearer(i.Token("acme"))...), "REPLAYED")

	// An answer that holds no keys withdraws none.
	second := i.Token("acme")
	for _, answer := range []string{`{"keys":[]}`, `null`} {
		i.AnswerKeys(answer)
		i.Rotate("third")
		if a := s.send(create("k", "Apollo"), bearer(i.Token("acme"))...); a.status != 503 {
			t.Errorf("a new key after %s: %d %s", answer, a.status, a.raw)
		}
		wantStatus(t, s.send(create("k", "Apollo"), bearer(second)...), "REPLAYED")
	}
	for _, line := range []string{"can't be fetched", "can be fetched again"} {
		eventually(t, "the log to say that the keys "+line, func() bool { return strings.Contains(s.stderr.String(), line) })
	}
	wantSoundLog(t, s, second)
}

func TestTokens_NameTheTenantInTheConfiguredClaim(t *testing.T) {
	t.Parallel()
	i := issuer.New(t)
	s := serveTo(t, i, pgtest.URL(t), "AUTH_TENANT_CLAIM=org")
	for _, org := range []string{"acme", "globex"} {
		claims := i.Claims("one person", "projects:write")
		claims["org"] = org
		wantStatus(t, s.send(create("k", "Apollo"), bearer(i.Sign(claims))...), "EXECUTED")
	}
	if a := s.send(create("k", "Apollo"), bearer(i.Token("acme"))...); a.status != 401 {
		t.Errorf("no claim: %d %s", a.status, a.raw)
	}
}

func TestStart_WithoutAuthenticationIsForTheLoopbackInterface(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0"} {
		if output := refused(t, "DATABASE_URL=postgres://127.0.0.1:1/none", "LISTEN_ADDR="+address); !strings.Contains(output, "AUTH_ISSUER") {
			t.Errorf("%s: it does not say how to go on: %s", address, output)
		}
	}
	i := issuer.New(t)
	serveTo(t, i, pgtest.URL(t), "LISTEN_ADDR=0.0.0.0:0").stop()
}
