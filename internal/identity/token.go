package identity

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// algorithms are pinned: none and those of shared secrets are not among them.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.ES384, jose.EdDSA}

// maxToken is the length of the longest token that is read, in bytes.
const maxToken = 8 << 10

// bearer returns the request's token (RFC 6750, section 2.1).
func bearer(header http.Header) (string, error) {
	values := header.Values("Authorization")
	if len(values) == 0 {
		return "", errMissing
	}
	scheme, text, _ := strings.Cut(values[0], " ")
	switch text = strings.Trim(text, " "); {
	case len(values) > 1:
		return "", errTwice
	case !strings.EqualFold(scheme, "Bearer") || text == "":
		return "", errAuthorization
	case len(text) > maxToken:
		return "", errTooLong
	case strings.Count(text, ".") != 2:
		return "", errNoToken
	}
	return text, nil
}

// A token is a JSON Web Token whose header was judged, and whose signature was not.
type token struct {
	signed    *jose.JSONWebSignature
	algorithm jose.SignatureAlgorithm
	// keyID is "" when the token names no key.
	keyID string
}

// parse reads a token of three parts. Its header may say how it is signed and with
// which of the issuer's keys; a key that it brings along or points to (jwk, jku, x5c,
// x5u) is never used.
func parse(text string) (token, error) {
	parts := strings.Split(text, ".")
	for _, part := range parts {
		if !canonical(part) {
			return token{}, errMalformed
		}
	}
	header, ok := decode(parts[0])
	if !ok {
		return token{}, errMalformed
	}
	t, err := judgeHeader(header)
	if err != nil {
		return token{}, err
	}
	if t.signed, err = jose.ParseSignedCompact(text, algorithms); err != nil || len(t.signed.Signatures) != 1 {
		return token{}, errMalformed
	}
	return t, nil
}

// canonical says whether a part of a token is base64url (RFC 7515, section 2) in its
// one form: without padding, line breaks, or bits that nobody reads.
func canonical(part string) bool {
	_, err := base64.RawURLEncoding.Strict().DecodeString(part)
	return err == nil && !strings.ContainsAny(part, "\r\n")
}

// members are those of a JSON object, each with its exact name and its value as it
// was written.
type members map[string]jsontext.Value

// decode reads a part of a token. An object that two readers could understand
// differently is none: names that occur twice, text that is not UTF-8, half of a
// surrogate pair (RFC 8725, section 2.4, and RFC 8259, sections 4 and 8).
func decode(part string) (members, bool) {
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return nil, false
	}
	return decodeText(text)
}

func decodeText(text []byte) (members, bool) {
	var m members
	err := json.Unmarshal(text, &m)
	return m, err == nil && m != nil
}

// text returns the member's value, and false when it is not a string.
func (m members) text(name string) (string, bool) {
	return unquoted(m[name])
}

func unquoted(value jsontext.Value) (string, bool) {
	if value.Kind() != '"' {
		return "", false
	}
	text, err := jsontext.AppendUnquote(nil, value)
	return string(text), err == nil
}

// judgeHeader reads a token's header (RFC 7515, section 4).
func judgeHeader(header members) (token, error) {
	// Extensions change what is signed or what it means, and none is understood.
	// A b64 has to be among them (RFC 7797, section 6), and is not always.
	for _, name := range []string{"crit", "b64"} {
		if _, given := header[name]; given {
			return token{}, errCritical
		}
	}
	name, ok := header.text("alg")
	algorithm := jose.SignatureAlgorithm(name)
	if !ok || !slices.Contains(algorithms, algorithm) {
		return token{}, errAlgorithm
	}
	if _, given := header["typ"]; given {
		// RFC 8725, section 3.11: a token of another kind is none of access.
		if kind, ok := header.text("typ"); !ok || !oneOf(kind, "jwt", "at+jwt") {
			return token{}, errType
		}
	}
	if _, given := header["cty"]; given {
		// A token inside a token (RFC 7519, section 5.2).
		if kind, ok := header.text("cty"); !ok || oneOf(kind, "jwt") {
			return token{}, errType
		}
	}
	keyID, ok := header.text("kid")
	if _, given := header["kid"]; given && !ok {
		return token{}, errMalformed
	}
	return token{algorithm: algorithm, keyID: keyID}, nil
}

// oneOf compares media types, which may lack their `application/` (RFC 7515, section
// 4.1.9).
func oneOf(mediaType string, kinds ...string) bool {
	return slices.Contains(kinds, strings.TrimPrefix(strings.ToLower(mediaType), "application/"))
}

// verifiedBy returns what the token says and the key of these that verifies it, and else
// why none does. A token that names no key is tried with all.
func (t token) verifiedBy(keys []*jose.JSONWebKey) ([]byte, *jose.JSONWebKey, error) {
	err := error(errKey)
	for _, key := range keys {
		switch {
		case t.keyID != "" && key.KeyID != t.keyID:
			continue
		case key.Algorithm != "" && key.Algorithm != string(t.algorithm): // RFC 7517, section 4.4
		default:
			if payload, err := t.signed.Verify(key); err == nil {
				return payload, key, nil
			}
		}
		if t.keyID != "" {
			err = errSignature
		}
	}
	return nil, nil, err
}
