// Package issuer is an OpenID Connect issuer for tests, with keys of its own.
package issuer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Audience is the one that tokens have unless their claims say otherwise.
const Audience = "onceql-tests"

// An Issuer publishes a discovery document and its keys, and makes tokens.
type Issuer struct {
	*httptest.Server
	t testing.TB
	// Fetches counts how often the keys were asked for.
	Fetches atomic.Int32
	// Down makes every answer an error.
	Down atomic.Bool

	mu        sync.Mutex
	published []jose.JSONWebKey
	current   *Key
}

// A Key signs tokens.
type Key struct {
	ID      string
	Private crypto.PrivateKey
}

// New starts an issuer with one key, and stops it after the test.
func New(t testing.TB) *Issuer {
	t.Helper()
	i := &Issuer{t: t}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		i.answer(w, map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/keys"})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		i.Fetches.Add(1)
		i.mu.Lock()
		defer i.mu.Unlock()
		i.answer(w, jose.JSONWebKeySet{Keys: i.published})
	})
	i.Server = httptest.NewServer(mux)
	t.Cleanup(i.Close)
	i.Rotate("first")
	return i
}

func (i *Issuer) answer(w http.ResponseWriter, document any) {
	if i.Down.Load() {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(document)
}

// NewKey returns a key that nobody knows of.
func (i *Issuer) NewKey(id string) *Key {
	i.t.Helper()
	return &Key{id, i.generate()}
}

func (i *Issuer) generate() *ecdsa.PrivateKey {
	i.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		i.t.Fatal(err)
	}
	return private
}

// Rotate publishes a new key beside the others and signs with it.
func (i *Issuer) Rotate(id string) {
	i.t.Helper()
	private := i.generate()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.current = &Key{id, private}
	i.published = append(i.published, jose.JSONWebKey{Key: private.Public(), KeyID: id, Use: "sig", Algorithm: "ES256"})
}

// Withdraw removes the keys but the current one from the document.
func (i *Issuer) Withdraw() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.published = i.published[len(i.published)-1:]
}

// Claims are those of a good token of the tenant, with the scopes.
func (i *Issuer) Claims(tenant, scopes string) map[string]any {
	return map[string]any{
		"iss": i.URL, "aud": Audience, "sub": tenant, "scope": scopes,
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}
}

// Token returns a good token of the tenant that may do everything.
func (i *Issuer) Token(tenant string) string {
	i.t.Helper()
	return i.Sign(i.Claims(tenant, "projects:read projects:write"))
}

// Sign returns a token with the claims, signed with the current key.
func (i *Issuer) Sign(claims map[string]any) string {
	i.t.Helper()
	i.mu.Lock()
	key := i.current
	i.mu.Unlock()
	return i.SignWith(jose.ES256, key, claims, nil)
}

// SignWith returns a token that is signed in that way, with more in its header.
func (i *Issuer) SignWith(algorithm jose.SignatureAlgorithm, key *Key, claims map[string]any, header map[jose.HeaderKey]any) string {
	i.t.Helper()
	options := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", key.ID)
	for name, value := range header {
		options = options.WithHeader(name, value)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key.Private}, options)
	if err != nil {
		i.t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		i.t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		i.t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		i.t.Fatal(err)
	}
	return token
}
