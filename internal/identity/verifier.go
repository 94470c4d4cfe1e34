package identity

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"time"

	"github.com/go-jose/go-jose/v4"
	lru "github.com/hashicorp/golang-lru/v2"
)

// Config says whose tokens are accepted.
type Config struct {
	// Issuer is the URL that discovery begins at, and the claim `iss`.
	Issuer string
	// Audience is this server's name in the claim `aud`.
	Audience string
	// TenantClaim is the claim that names the tenant.
	TenantClaim string
	// Changed is told when the state of the issuer's keys is another, and why fetching
	// them fails. Nil means that nobody is told.
	Changed func(KeysState, error)
	// Fetched is told of each fetch of the keys, with nil or why it failed. Nil means
	// that nobody is told.
	Fetched func(error)
	// Transport carries requests to the issuer. Nil means one like
	// http.DefaultTransport.
	Transport http.RoundTripper
}

// A Verifier reads tokens of one issuer. It is safe for use by many goroutines.
type Verifier struct {
	config Config
	keys   *keySet
	memory *lru.Cache[digest, verified]
}

// NewVerifier returns a verifier that keeps the issuer's keys up to date until ctx
// ends. It fetches them once before it returns; an issuer that can't be reached is
// tried again, and is no error. The error is one of the configuration: the issuer
// calls itself otherwise.
func NewVerifier(ctx context.Context, config Config) (*Verifier, error) {
	if config.Changed == nil {
		config.Changed = func(KeysState, error) {}
	}
	fetch := newSource(config.Issuer, config.Transport).fetch
	keys := newKeySet(func(ctx context.Context) ([]jose.JSONWebKey, error) {
		keys, err := fetch(ctx)
		if config.Fetched != nil {
			config.Fetched(err)
		}
		return keys, err
	})
	if err := keys.renew(ctx); errors.Is(err, errMismatch) {
		return nil, err
	} else if err != nil {
		config.Changed(KeysMissing, err)
	}
	go keys.run(ctx, config.Changed)
	memory, err := lru.New[digest, verified](mostRemembered)
	return &Verifier{config: config, keys: keys, memory: memory}, err
}

// Identify returns whose request it is, or ErrUnauthenticated or ErrUnavailable.
// The error's text holds nothing of the token, and says no more than the client may
// know; Reason says more.
func (v *Verifier) Identify(ctx context.Context, header http.Header) (Identity, error) {
	text, err := bearer(header)
	if err != nil {
		return Identity{}, err
	}
	digest := sha256.Sum256([]byte(text))
	if known, ok := v.remembered(digest, time.Now()); ok {
		return known, nil
	}
	token, err := parse(text)
	if err != nil {
		return Identity{}, err
	}
	payload, key, err := v.keys.verify(ctx, token)
	if err != nil {
		return Identity{}, err
	}
	granted, err := v.config.judge(payload, time.Now())
	if err != nil {
		return Identity{}, err
	}
	v.memory.Add(digest, verified{granted, key})
	return granted.Identity, nil
}
