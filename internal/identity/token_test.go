package identity_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/onceql/onceql/internal/identity"
	"github.com/onceql/onceql/internal/issuer"
)

const plainHeader = `{"alg":"ES256","typ":"JWT","kid":"first"}`

// claimsText is the claims of a good token of acme.
func claimsText(t testing.TB, i *issuer.Issuer) string {
	t.Helper()
	text, err := json.Marshal(i.Claims("acme", "projects:read"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestIdentify_ReadsTheHeaderStrictly(t *testing.T) {
	t.Parallel()
	i := issuer.New(t)
	v := verifier(t, i)
	claims := claimsText(t, i)
	nested := i.Token("acme")
	for header, reason := range map[string]string{
		plainHeader:                                  "",
		`{"alg":"ES256","kid":"first"}`:              "", // RFC 7519, section 5.1: typ is optional.
		`{"alg":"ES256"}`:                            "",
		`{"alg":"ES256","kid":""}`:                   "",
		`{"alg":"ES256","typ":"at+jwt"}`:             "", // RFC 9068, section 2.1
		`{"alg":"ES256","typ":"application/at+jwt"}`: "",
		`{"alg":"ES256","typ":"jwt"}`:                "",
		`{"alg":"ES256","ALG":"none"}`:               "",
		`{"alg":"ES256","jku":"https://attacker.example","x5u":"https://attacker.example"}`: "",

		`{"alg":"ES256","typ":"dpop+jwt"}`:                   "type",
		`{"alg":"ES256","typ":"logout+jwt"}`:                 "type",
		`{"alg":"ES256","typ":"JOSE"}`:                       "type",
		`{"alg":"ES256","typ":""}`:                           "type",
		`{"alg":"ES256","typ":null}`:                         "type",
		`{"alg":"ES256","typ":["JWT"]}`:                      "type",
		`{"alg":"ES256","cty":"JWT"}`:                        "type",
		`{"alg":"ES256","crit":["exp"],"exp":1}`:             "critical",
		`{"alg":"ES256","crit":[]}`:                          "critical",
		`{"alg":"ES256","crit":null}`:                        "critical",
		`{"alg":"ES256","crit":["b64"],"b64":false}`:         "critical",
		`{"alg":"ES256","b64":true}`:                         "critical",
		`{"alg":"ES256","b64":false}`:                        "critical",
		`{"typ":"JWT"}`:                                      "algorithm",
		`{"alg":"none"}`:                                     "algorithm",
		`{"alg":"es256"}`:                                    "algorithm",
		`{"alg":"ES512"}`:                                    "algorithm",
		`{"alg":"HS256"}`:                                    "algorithm",
		`{"alg":""}`:                                         "algorithm",
		`{"alg":null}`:                                       "algorithm",
		`{"alg":["ES256"]}`:                                  "algorithm",
		`{"ALG":"ES256"}`:                                    "algorithm",
		`{"alg":"RS256","kid":"first"}`:                      "signature", // The key is one of ES256.
		`{"alg":"EdDSA","kid":"first"}`:                      "signature",
		`{"alg":"ES384"}`:                                    "key",
		`{"alg":"ES256","kid":"FIRST"}`:                      "key",
		`{"alg":"ES256","kid":7}`:                            "malformed",
		`{"alg":"ES256","kid":null}`:                         "malformed",
		`{"alg":"ES256","kid":"first","kid":"first"}`:        "malformed",
		`{"alg":"none","alg":"ES256"}`:                       "malformed",
		`{"alg":"ES256","\u0061lg":"ES256"}`:                 "malformed",
		`{"alg":"ES256","a":{"b":1,"b":2}}`:                  "malformed",
		`{"alg":"ES256","kid":"\ud800"}`:                     "malformed",
		"{\"alg\":\"ES256\",\"a\":\"\xff\"}":                 "malformed",
		`{"alg":"ES256"}{}`:                                  "malformed",
		`{"alg":"ES256"`:                                     "malformed",
		`["ES256"]`:                                          "malformed",
		`null`:                                               "malformed",
		``:                                                   "malformed",
		"\xef\xbb\xbf" + plainHeader:                         "malformed",
		`{"alg":"ES256","jwk":{"kty":"oct","k":"c2VjcmV0"}}`: "malformed",
	} {
		if reason == "" {
			wantTenant(t, v, header, i.SignText(header, claims), "acme")
		} else {
			wantRefused(t, v, header, i.SignText(header, claims), reason)
		}
	}
	wantRefused(t, v, "a nested token", i.SignText(plainHeader, nested), "claims")
	wantRefused(t, v, "a nested token as a string", i.SignText(plainHeader, `"`+nested+`"`), "claims")
}

// A token has one text: whoever keeps a list of them is not deceived by another.
func TestIdentify_RefusesEveryOtherFormOfAToken(t *testing.T) {
	t.Parallel()
	i := issuer.New(t)
	v := verifier(t, i)
	good := i.Token("acme")
	parts := strings.Split(good, ".")
	join := func(parts ...string) string { return strings.Join(parts, ".") }
	// The last character of 64 bytes in base64url has bits that are not used.
	last := parts[2][len(parts[2])-1]
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	malleable := parts[2][:len(parts[2])-1] + string(alphabet[strings.IndexByte(alphabet, last)+1])
	for name, token := range map[string]string{
		"padding":            good + "==",
		"unused bits":        join(parts[0], parts[1], malleable),
		"a line break":       good + "\n",
		"a line break amid":  join(parts[0], parts[1][:8]+"\r\n"+parts[1][8:], parts[2]),
		"a space amid":       join(parts[0], parts[1][:8]+" "+parts[1][8:], parts[2]),
		"base64":             join(parts[0], parts[1], "+/"+parts[2][2:]),
		"garbage at its end": good + "!",
		"a part more":        good + ".e30",
		"a cut signature":    good[:len(good)-10] + "!",
		"two tokens":         good + " " + good,
	} {
		wantRefused(t, v, name, token, "malformed")
	}
	wantRefused(t, v, "a longer signature", good+"AAAA", "signature")
	wantRefused(t, v, "no signature", join(parts[0], parts[1], ""), "signature")
	wantRefused(t, v, "another payload", join(parts[0], "e30", parts[2]), "signature")
	wantRefused(t, v, "a signature of zeros", join(parts[0], parts[1], strings.Repeat("A", 86)), "signature")
	wantTenant(t, v, "the good one", good, "acme")
}

func TestIdentify_TakesNoKeyButTheIssuers(t *testing.T) {
	t.Parallel()
	i := issuer.New(t)
	v := verifier(t, i)
	stranger := i.NewKey("first") // It calls itself as the issuer's key does.
	public := stranger.Private.(*ecdsa.PrivateKey).Public()
	brought := map[jose.HeaderKey]any{"jku": i.URL + "/keys", "x5u": i.URL + "/keys", "jwk": jose.JSONWebKey{Key: public}}
	claims := i.Claims("acme", "projects:read")
	wantRefused(t, v, "another's key", i.SignWith(jose.ES256, stranger, claims, nil), "signature")
	wantRefused(t, v, "a key in the header", i.SignWith(jose.ES256, stranger, claims, brought), "signature")
	wantRefused(t, v, "an unknown key in the header", i.SignWith(jose.ES256, i.NewKey("other"), claims, brought), "key")
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	shared := &issuer.Key{ID: "first", Private: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})}
	wantRefused(t, v, "HS256 with the public key", i.SignWith(jose.HS256, shared, claims, nil), "algorithm")
}

// Every algorithm is accepted with keys that are strong enough and made for it.
func TestIdentify_AcceptsKeysThatAreForTheAlgorithm(t *testing.T) {
	t.Parallel()
	i := issuer.New(t)
	rsaKey := func(bits int) *rsa.PrivateKey {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	curve := func(c elliptic.Curve) *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	publicEd, privateEd, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	strong, weak, almost, p384, p521 := rsaKey(2048), rsaKey(1024), rsaKey(2047), curve(elliptic.P384()), curve(elliptic.P521())
	for _, key := range []jose.JSONWebKey{
		{KeyID: "rsa", Key: strong.Public(), Use: "sig"},
		{KeyID: "rsa for PS256", Key: strong.Public(), Algorithm: "PS256"},
		{KeyID: "rsa for encryption", Key: strong.Public(), Use: "enc"},
		{KeyID: "rsa for RSA-OAEP", Key: strong.Public(), Algorithm: "RSA-OAEP"},
		{KeyID: "rsa private", Key: strong},
		{KeyID: "rsa 1024", Key: weak.Public(), Use: "sig"},
		{KeyID: "rsa 2047", Key: almost.Public(), Use: "sig"},
		{KeyID: "p384", Key: p384.Public()},
		{KeyID: "p521", Key: p521.Public()},
		{KeyID: "ed25519", Key: publicEd},
	} {
		i.Publish(key)
	}
	v := verifier(t, i)
	for _, c := range []struct {
		algorithm jose.SignatureAlgorithm
		id        string
		key       any
		reason    string
	}{
		{jose.RS256, "rsa", strong, ""},
		{jose.PS256, "rsa", strong, ""},
		{jose.PS256, "rsa for PS256", strong, ""},
		{jose.ES384, "p384", p384, ""},
		{jose.EdDSA, "ed25519", privateEd, ""},
		{jose.RS256, "rsa for PS256", strong, "signature"},
		{jose.RS512, "rsa", strong, "algorithm"},
		{jose.ES512, "p521", p521, "algorithm"},
		{jose.RS256, "rsa for encryption", strong, "key"},
		{jose.RS256, "rsa for RSA-OAEP", strong, "key"},
		{jose.RS256, "rsa private", strong, "key"},
		{jose.RS256, "rsa 1024", weak, "key"},
		{jose.PS256, "rsa 1024", weak, "key"},
		{jose.RS256, "rsa 2047", almost, "key"},
		{jose.EdDSA, "rsa", privateEd, "signature"},
	} {
		name := fmt.Sprintf("%s with %s", c.algorithm, c.id)
		token := i.SignWith(c.algorithm, &issuer.Key{ID: c.id, Private: c.key}, i.Claims("acme", ""), nil)
		if c.reason == "" {
			wantTenant(t, v, name, token, "acme")
		} else {
			wantRefused(t, v, name, token, c.reason)
		}
	}
}

// FuzzIdentify signs whatever it is, so that what reads the header and the claims
// sees all of it. The header names a key that is known: an unknown one would wait for
// the issuer.
func FuzzIdentify(f *testing.F) {
	i := issuer.NewInMemory(f) // Its URL is the same in each of the processes that fuzz.
	v := verifier(f, i)
	good := claimsText(f, i)
	const rest = `"alg":"ES256","typ":"at+jwt"}`
	f.Add(rest, good)
	f.Add(`"alg":"ES256","\u0061lg":"none"}`, strings.Replace(good, "acme", `\ud800`, 1))
	f.Add(`"alg":"ES256","crit":["b64"],"b64":false,"jwk":{"kty":"oct","k":"AA"}}`, good)
	f.Add(rest, strings.Replace(good, `"aud"`, `"AUD"`, 1))
	f.Add(rest, strings.Replace(good, `"iat"`, `"nbf":1e300,"iat"`, 1))
	f.Add(rest, strings.Replace(good, `"scope":"projects:read"`, `"scp":["projects:read"]`, 1))
	f.Fuzz(func(t *testing.T, head, claims string) {
		if len(head)+len(claims) > 5<<10 {
			return
		}
		head = `{"kid":"first",` + head
		token := i.SignText(head, claims)
		got, err := v.Identify(t.Context(), header(token))
		if err != nil {
			if identity.Reason(err) == "" || strings.Contains(err.Error(), token) {
				t.Errorf("%v has the reason %q", err, identity.Reason(err))
			}
			return
		}
		// Another reader, which takes the last of two members, has to agree.
		var protected, read map[string]any
		if json.Unmarshal([]byte(head), &protected) != nil || json.Unmarshal([]byte(claims), &read) != nil {
			t.Fatalf("%+v of %q and %q, which are no objects", got, head, claims)
		}
		end, _ := read["exp"].(float64)
		if protected["alg"] != "ES256" || read["iss"] != i.URL || read["sub"] != got.Tenant || end <= float64(time.Now().Unix()) {
			t.Errorf("%+v of %q and %q", got, head, claims)
		}
	})
}
