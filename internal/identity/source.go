package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// fetchTimeout bounds a request to the issuer.
	fetchTimeout = 5 * time.Second
	// maxDocument and maxHead bound its answer, in bytes.
	maxDocument = 1 << 20
	maxHead     = 64 << 10
	// maxRedirects is how often a request may be sent elsewhere.
	maxRedirects = 3
	// maxKeys is how many keys a set may have. A token that names none is tried with
	// all.
	maxKeys = 100
	// minModulus is the length of the shortest RSA key that is accepted, in bits (RFC
	// 7518, section 3.3).
	minModulus = 2048
)

// A source is where an issuer publishes its keys.
type source struct {
	issuer string
	client *http.Client
}

func newSource(issuer string, transport http.RoundTripper) *source {
	if transport == nil {
		transport = http.DefaultTransport
		if shared, ok := transport.(*http.Transport); ok {
			own := shared.Clone()
			own.MaxResponseHeaderBytes = maxHead
			transport = own
		}
	}
	return &source{issuer, &http.Client{Timeout: fetchTimeout, Transport: transport, CheckRedirect: checkRedirect}}
}

// checkRedirect lets the issuer send a request elsewhere, and never from TLS to none.
func checkRedirect(next *http.Request, before []*http.Request) error {
	switch {
	case len(before) > maxRedirects:
		return fmt.Errorf("the issuer redirects more than %d times", maxRedirects)
	case before[0].URL.Scheme == "https" && next.URL.Scheme != "https":
		return errors.New("the issuer redirects from https to " + next.URL.Scheme)
	}
	return nil
}

// errMismatch reports that the document at the issuer's URL is of another issuer.
var errMismatch = errors.New("the discovery document is of another issuer")

// fetch discovers where the issuer's keys are and returns those that verify
// signatures. A set that has none is an error, and so is one that does not say what
// it is: nobody withdraws the last key.
// https://openid.net/specs/openid-connect-discovery-1_0.html
func (s *source) fetch(ctx context.Context) ([]jose.JSONWebKey, error) {
	var discovered struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := s.read(ctx, strings.TrimSuffix(s.issuer, "/")+"/.well-known/openid-configuration", &discovered); err != nil {
		return nil, fmt.Errorf("reading the discovery document: %w", err)
	}
	if discovered.Issuer != s.issuer {
		return nil, fmt.Errorf("%w: %.200q is not %q", errMismatch, discovered.Issuer, s.issuer)
	}
	place, err := url.Parse(discovered.Keys)
	if err != nil || place.Host == "" || place.Scheme != "https" && (place.Scheme != "http" || strings.HasPrefix(s.issuer, "https:")) {
		return nil, errors.New("the discovery document has no jwks_uri that can be used")
	}
	var set struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if err := s.read(ctx, discovered.Keys, &set); err != nil {
		return nil, fmt.Errorf("reading the keys: %w", err)
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("there are more than %d keys", maxKeys)
	}
	var keys []jose.JSONWebKey
	for _, text := range set.Keys {
		if key, ok := usable(text); ok {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("none of the %d keys verifies signatures", len(set.Keys))
	}
	return keys, nil
}

// read decodes a document of the issuer, as strictly as a token.
func (s *source) read(ctx context.Context, place string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, place, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "application/json")
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the answer has status %d", response.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxDocument+1))
	if err != nil {
		return err
	}
	if len(text) > maxDocument {
		return fmt.Errorf("the answer is larger than %d bytes", maxDocument)
	}
	if json.Unmarshal(text, into) != nil {
		return errors.New("the answer is not the JSON that it has to be")
	}
	return nil
}

// usable returns a key that verifies signatures of tokens. Others are left out (RFC
// 7517, section 5): private ones, those for something else, and weak ones.
func usable(text jsontext.Value) (jose.JSONWebKey, bool) {
	var purpose struct {
		Use        *string   `json:"use"`
		Operations *[]string `json:"key_ops"`
	}
	var key jose.JSONWebKey
	if json.Unmarshal(text, &purpose) != nil || key.UnmarshalJSON(text) != nil {
		return key, false
	}
	if purpose.Use != nil && *purpose.Use != "sig" || purpose.Operations != nil && !slices.Contains(*purpose.Operations, "verify") {
		return key, false
	}
	if key.Algorithm != "" && !slices.Contains(algorithms, jose.SignatureAlgorithm(key.Algorithm)) {
		return key, false
	}
	switch public := key.Key.(type) {
	case *rsa.PublicKey:
		return key, public.N.BitLen() >= minModulus
	case *ecdsa.PublicKey:
		return key, public.Curve == elliptic.P256() || public.Curve == elliptic.P384()
	case ed25519.PublicKey:
		return key, true
	}
	return key, false
}
