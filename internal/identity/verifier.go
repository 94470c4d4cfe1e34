package identity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/time/rate"
)

var (
	// ErrUnauthenticated reports a token that is missing, or not one that the
	// issuer made for this server and for now.
	ErrUnauthenticated = errors.New("not authenticated")
	// ErrUnavailable reports that the issuer can't be reached, and that what is
	// known of it does not tell.
	ErrUnavailable = errors.New("the token issuer can't be reached for now")
)

// algorithms are pinned: none and those of shared secrets are not among them.
var algorithms = []string{oidc.RS256, oidc.PS256, oidc.ES256, oidc.ES384, oidc.EdDSA}

const (
	// maxToken is the length of the longest token that is read, in bytes.
	maxToken = 8 << 10
	// maxTenant is the length of the longest tenant's name, in bytes.
	maxTenant = 255
	// leeway is how far the issuer's clock may be ahead of this one.
	leeway = time.Minute
	// fetchTimeout bounds a request to the issuer.
	fetchTimeout = 5 * time.Second
	// maxDocument is the size of the largest document that is read from it.
	maxDocument = 1 << 20
)

// Config says whose tokens are accepted.
type Config struct {
	// Issuer is the URL that discovery begins at, and the claim `iss`.
	Issuer string
	// Audience is this server's name in the claim `aud`.
	Audience string
	// TenantClaim is the claim that names the tenant.
	TenantClaim string
}

// A Verifier reads tokens of one issuer. It is safe for use by many goroutines.
type Verifier struct {
	config Config
	client *http.Client
	// verifier is nil until discovery has succeeded. One caller at a time tries,
	// and not too often; the others need not wait for an issuer that hangs.
	verifier    atomic.Pointer[oidc.IDTokenVerifier]
	discovering sync.Mutex
	tries       *rate.Limiter
}

// NewVerifier returns a verifier and discovers the issuer's keys. When the issuer
// can't be reached the verifier tries again as tokens come, and the error is
// ErrUnavailable; any other error is one of the configuration.
func NewVerifier(ctx context.Context, config Config) (*Verifier, error) {
	v := &Verifier{
		config: config,
		client: &http.Client{Timeout: fetchTimeout, Transport: bounded{http.DefaultTransport}},
		tries:  rate.NewLimiter(rate.Every(time.Second), 1),
	}
	_, err := v.discovered(ctx)
	return v, err
}

// discovered returns what discovery found.
// https://openid.net/specs/openid-connect-discovery-1_0.html
func (v *Verifier) discovered(ctx context.Context) (*oidc.IDTokenVerifier, error) {
	if verifier := v.verifier.Load(); verifier != nil {
		return verifier, nil
	}
	if !v.discovering.TryLock() {
		return nil, ErrUnavailable
	}
	defer v.discovering.Unlock()
	if !v.tries.Allow() {
		return nil, ErrUnavailable
	}
	ctx = oidc.ClientContext(context.WithoutCancel(ctx), v.client)
	provider, err := oidc.NewProvider(ctx, v.config.Issuer)
	if mismatch := (*oidc.IssuerMismatchError)(nil); errors.As(err, &mismatch) {
		return nil, err
	}
	var document struct {
		KeysURL string `json:"jwks_uri"`
	}
	if err == nil {
		err = provider.Claims(&document)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	verifier := oidc.NewVerifier(v.config.Issuer, newKeySet(document.KeysURL, v.client), &oidc.Config{
		ClientID:             v.config.Audience,
		SupportedSigningAlgs: algorithms,
	})
	v.verifier.Store(verifier)
	return verifier, nil
}

// Identify returns whose request it is, or ErrUnauthenticated or ErrUnavailable.
// The error's text holds nothing of the token.
func (v *Verifier) Identify(ctx context.Context, header http.Header) (Identity, error) {
	token, err := bearer(header)
	if err != nil {
		return Identity{}, err
	}
	verifier, err := v.discovered(ctx)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	var fetching fetchFailure
	verified, err := verifier.Verify(context.WithValue(ctx, fetchFailureKey{}, &fetching), token)
	if fetching.err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrUnavailable, fetching.err)
	}
	if err != nil {
		return Identity{}, refused(reason(err))
	}
	var claims map[string]any
	if err := verified.Claims(&claims); err != nil {
		return Identity{}, refused("its claims can't be read")
	}
	if before, ok := claims["nbf"].(float64); ok && time.Unix(int64(before), 0).After(time.Now().Add(leeway)) {
		return Identity{}, refused("it is not valid yet")
	}
	tenant, ok := claims[v.config.TenantClaim].(string)
	if !ok || tenant == "" || len(tenant) > maxTenant || strings.ContainsFunc(tenant, unicode.IsControl) {
		return Identity{}, refused("it names no tenant")
	}
	scopes, _ := claims["scope"].(string)
	return Identity{Tenant: tenant, Scopes: strings.Fields(scopes)}, nil
}

func refused(reason string) error {
	return fmt.Errorf("%w: the bearer token is refused: %s", ErrUnauthenticated, reason)
}

// bearer returns the request's token (RFC 6750, section 2.1).
func bearer(header http.Header) (string, error) {
	values := header.Values("Authorization")
	if len(values) == 0 {
		return "", fmt.Errorf("%w: send a bearer token in the header Authorization", ErrUnauthenticated)
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	switch token = strings.Trim(token, " "); {
	case len(values) > 1:
		return "", refused("there is more than one header Authorization")
	case !strings.EqualFold(scheme, "Bearer") || token == "":
		return "", refused("the header Authorization is not of the form Bearer <token>")
	case len(token) > maxToken:
		return "", refused(fmt.Sprintf("it is longer than %d bytes", maxToken))
	case strings.Count(token, ".") != 2:
		return "", refused("it is not a JSON Web Token")
	}
	return token, nil
}

// reason tells the client why without quoting the token: the library's messages
// have claims in them.
func reason(err error) string {
	text := err.Error()
	switch {
	case errors.As(err, new(*oidc.TokenExpiredError)):
		return "it has expired, or does not say when it will"
	case strings.Contains(text, "different provider"):
		return "it is of another issuer"
	case strings.Contains(text, "expected audience"):
		return "it is for another audience"
	case strings.Contains(text, "nbf"):
		return "it is not valid yet"
	case strings.Contains(text, "signature"):
		return "its signature is not one of the issuer's"
	}
	return "it is malformed, or signed in a way that is not accepted"
}

// bounded cuts documents off that are too large to be the issuer's.
type bounded struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		response.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(response.Body, maxDocument), response.Body}
	}
	return response, err
}
