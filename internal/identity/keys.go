package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/time/rate"
)

// The keys are fetched anew so often, so that a key that the issuer withdrew is
// not accepted for longer; and besides when a token has an unknown key, at most so
// often, so that a burst of made-up keys does not become one at the issuer.
const (
	refreshEvery = 5 * time.Minute
	fetchEvery   = time.Second
	fetchBurst   = 10
)

// A keySet holds the issuer's public keys. oidc.RemoteKeySet would ask the issuer
// for each token with an unknown key, and never again for known ones.
type keySet struct {
	url     string
	client  *http.Client
	fetches *rate.Limiter

	mu        sync.Mutex
	keys      []jose.JSONWebKey
	fetchedAt time.Time
	// failure is why the last fetch came to nothing.
	failure error
	// fetching is closed when the fetch that is under way has ended.
	fetching chan struct{}
}

func newKeySet(url string, client *http.Client) *keySet {
	return &keySet{url: url, client: client, fetches: rate.NewLimiter(rate.Every(fetchEvery), fetchBurst)}
}

// A fetchFailure takes the error that oidc's verifier would flatten to text.
type fetchFailure struct{ err error }

type fetchFailureKey struct{}

var errSignature = errors.New("the signature is not one of the issuer's")

// VerifySignature implements oidc.KeySet. The verifier has parsed the token and
// checked its algorithm before.
func (s *keySet) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	accepted := make([]jose.SignatureAlgorithm, len(algorithms))
	for i, algorithm := range algorithms {
		accepted[i] = jose.SignatureAlgorithm(algorithm)
	}
	signed, err := jose.ParseSignedCompact(token, accepted)
	if err != nil || len(signed.Signatures) != 1 {
		return nil, errSignature
	}
	id := signed.Signatures[0].Header.KeyID
	payload, known := s.verify(ctx, signed, id)
	if known {
		if payload == nil {
			return nil, errSignature
		}
		return payload, nil
	}
	if err := s.refresh(ctx); err != nil {
		if failure, ok := ctx.Value(fetchFailureKey{}).(*fetchFailure); ok {
			failure.err = err
		}
		return nil, err
	}
	if payload, _ = s.verify(ctx, signed, id); payload == nil {
		return nil, errSignature
	}
	return payload, nil
}

// verify returns what the token says when a key verifies it, and whether the key
// is known at all. A token that names none is tried with all.
func (s *keySet) verify(ctx context.Context, signed *jose.JSONWebSignature, id string) (payload []byte, known bool) {
	s.mu.Lock()
	keys := s.keys
	if time.Since(s.fetchedAt) > refreshEvery && s.fetching == nil && s.fetches.Allow() {
		s.fetch(ctx) // Meanwhile the known keys are good.
	}
	s.mu.Unlock()
	for i := range keys {
		if id != "" && keys[i].KeyID != id {
			continue
		}
		known = true
		if payload, err := signed.Verify(&keys[i]); err == nil {
			return payload, true
		}
	}
	return nil, known
}

// refresh waits for keys that are newer than the call. When too many were fetched
// lately it leaves it at what is known.
func (s *keySet) refresh(ctx context.Context) error {
	s.mu.Lock()
	if s.fetching == nil {
		if !s.fetches.Allow() {
			defer s.mu.Unlock()
			return s.failure
		}
		s.fetch(ctx)
	}
	fetching := s.fetching
	s.mu.Unlock()
	select {
	case <-fetching:
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// fetch asks the issuer, for all who wait and not for the caller alone, who holds
// the mutex.
func (s *keySet) fetch(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	done := make(chan struct{})
	s.fetching = done
	go func() {
		keys, err := s.fetched(ctx)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.failure = err; err == nil {
			s.keys, s.fetchedAt = keys, time.Now()
		}
		s.fetching = nil
		close(done)
	}()
}

// fetched returns the keys of the issuer's document that verify signatures. What
// it can't read of it is left out (RFC 7517, section 5).
func (s *keySet) fetched(ctx context.Context) ([]jose.JSONWebKey, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the issuer's keys were answered with status %d", response.StatusCode)
	}
	var document struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.NewDecoder(response.Body).Decode(&document); err != nil {
		return nil, fmt.Errorf("reading the issuer's keys: %w", err)
	}
	var keys []jose.JSONWebKey
	for _, text := range document.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(text, &key) == nil && key.IsPublic() && (key.Use == "" || key.Use == "sig") {
			keys = append(keys, key)
		}
	}
	return keys, nil
}
