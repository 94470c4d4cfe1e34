// Package issuer is an OpenID Connect issuer for tests, with keys of its own.
package issuer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// Audience is the one that tokens have unless their claims say otherwise.
const Audience = "onceql-tests"

// An Issuer publishes a discovery document and its keys, and makes tokens.
type Issuer struct {
	*httptest.Server
	t testing.TB
	// Transport reaches the issuer when it is in memory, and is nil otherwise.
	Transport *http.Transport
	// Fetches counts how often the keys were asked for.
	Fetches atomic.Int32
	// Down makes every answer an error.
	Down atomic.Bool
	// Discovery and Keys answer in place of the issuer, where they are set.
	Discovery, Keys atomic.Pointer[http.HandlerFunc]

	mu        sync.Mutex
	published []jose.JSONWebKey
	current   *Key
}

// New starts an issuer with one key, and stops it after the test.
func New(t testing.TB) *Issuer {
	t.Helper()
	return start(t, nil)
}

// NewInMemory starts an issuer that is reached through its Transport alone, so that
// time is the test's under testing/synctest.
func NewInMemory(t testing.TB) *Issuer {
	t.Helper()
	return start(t, newMemory())
}

func start(t testing.TB, network *memory) *Issuer {
	t.Helper()
	i := &Issuer{t: t}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		i.answer(w, r, i.Discovery.Load(), func() any { return map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/keys"} })
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, r *http.Request) {
		i.Fetches.Add(1)
		i.answer(w, r, i.Keys.Load(), func() any {
			i.mu.Lock()
			defer i.mu.Unlock()
			return jose.JSONWebKeySet{Keys: append([]jose.JSONWebKey{}, i.published...)}
		})
	})
	i.Server = httptest.NewUnstartedServer(mux)
	if network != nil {
		_ = i.Listener.Close()
		i.Listener = network
		i.Transport = &http.Transport{DialContext: network.dial}
		t.Cleanup(i.Transport.CloseIdleConnections)
	}
	i.Start()
	t.Cleanup(i.Close)
	i.Rotate("first")
	return i
}

func (i *Issuer) answer(w http.ResponseWriter, r *http.Request, instead *http.HandlerFunc, document func() any) {
	switch {
	case i.Down.Load():
		w.WriteHeader(http.StatusBadGateway)
	case instead != nil:
		(*instead)(w, r)
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(document())
	}
}

// AnswerKeys has the issuer answer that in place of its keys, with status 200.
func (i *Issuer) AnswerKeys(text string) {
	i.Keys.Store(new(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) })))
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
	i.current = &Key{id, private}
	i.mu.Unlock()
	i.Publish(jose.JSONWebKey{Key: private.Public(), KeyID: id, Use: "sig", Algorithm: "ES256"})
}

// Publish adds a key to the issuer's document, after the others.
func (i *Issuer) Publish(key jose.JSONWebKey) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.published = append(i.published, key)
}

// Withdraw removes the keys but the last one from the document.
func (i *Issuer) Withdraw() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.published = i.published[len(i.published)-1:]
}
