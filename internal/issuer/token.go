package issuer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// A Key signs tokens.
type Key struct {
	ID      string
	Private crypto.PrivateKey
}

// NewKey returns a key that nobody knows of.
func (i *Issuer) NewKey(id string) *Key {
	i.t.Helper()
	return &Key{id, i.generate()}
}

// Claims are those of a good token of the tenant, with the scopes.
func (i *Issuer) Claims(tenant, scopes string) map[string]any {
	return map[string]any{
		"iss": i.URL, "aud": Audience, "sub": tenant, "scope": scopes,
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}
}

// Token returns a good token of the tenant that may do everything with projects.
func (i *Issuer) Token(tenant string) string {
	i.t.Helper()
	return i.Sign(i.Claims(tenant, "projects:read projects:write"))
}

// AllScopes are what a token has to hold to do everything.
const AllScopes = "projects:read projects:write keys:read"

// Sign returns a token with the claims, signed with the current key.
func (i *Issuer) Sign(claims map[string]any) string {
	i.t.Helper()
	return i.SignWith(jose.ES256, i.key(), claims, nil)
}

func (i *Issuer) key() *Key {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.current
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

// SignText returns a token of the two texts as they are, whatever they are, signed by
// ES256 with the current key. A fuzz target may call it.
func (i *Issuer) SignText(header, claims string) string {
	encode := base64.RawURLEncoding.EncodeToString
	input := encode([]byte(header)) + "." + encode([]byte(claims))
	return input + "." + encode(i.Signature(input))
}

// Signature is that of ES256 with the current key (RFC 7518, section 3.4).
func (i *Issuer) Signature(input string) []byte {
	private, ok := i.key().Private.(*ecdsa.PrivateKey)
	if !ok {
		i.t.Fatal("the current key is not one of ES256")
	}
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, private, digest[:])
	if err != nil {
		i.t.Fatal(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signature
}
