package identity

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// maxTenant is the length of the longest tenant's name, in bytes.
	maxTenant = 255
	// leeway is how far the issuer's clock may be ahead of this one.
	leeway = time.Minute
	// lastDate is the last second of the year 9999, in seconds since 1970. What is
	// later is no date but a mistake, such as milliseconds.
	lastDate = 253402300799
)

// A grant is what a token says: whom it names, and from when until when it is good.
type grant struct {
	Identity
	// begin is zero where the token does not say it.
	begin, end time.Time
}

// at says why the grant is not good now, or nil.
func (g grant) at(now time.Time) error {
	switch {
	case !now.Before(g.end):
		return errExpired
	case g.begin.After(now.Add(leeway)):
		return errNotYet
	}
	return nil
}

// judge returns what a token's claims grant, when they are for this server and for
// now. The signature was verified before. Claims that are not understood are ignored
// (RFC 7519, section 4), and `AUD` is not `aud`.
func (c Config) judge(payload []byte, now time.Time) (g grant, err error) {
	claims, ok := decodeText(payload)
	if !ok {
		return grant{}, errClaims
	}
	if issuer, ok := claims.text("iss"); !ok || issuer != c.Issuer {
		return grant{}, errIssuer
	}
	if audience, ok := texts(claims["aud"]); !ok || !slices.Contains(audience, c.Audience) {
		return grant{}, errAudience
	}
	if g.end, ok = date(claims["exp"]); !ok {
		return grant{}, errExpired
	}
	if value, given := claims["nbf"]; given {
		if g.begin, ok = date(value); !ok {
			return grant{}, errClaims
		}
	}
	if err := g.at(now); err != nil {
		return grant{}, err
	}
	// PostgreSQL's text holds no NUL, and a log line no control character.
	g.Tenant, ok = claims.text(c.TenantClaim)
	if !ok || g.Tenant == "" || len(g.Tenant) > maxTenant || strings.ContainsFunc(g.Tenant, unicode.IsControl) {
		return grant{}, errTenant
	}
	named, ok := scopes(claims)
	if !ok {
		return grant{}, errScope
	}
	for _, scope := range known {
		if slices.Contains(named, scope) {
			g.Scopes = append(g.Scopes, scope)
		}
	}
	return g, nil
}

// scopes returns what the token allows, which may be nothing: the claim `scope` (RFC
// 8693, section 4.2), or without it `scp`, as some issuers call it. Each is a string
// of names with spaces between them, or a list of names; false is anything else.
func scopes(claims members) ([]string, bool) {
	value, given := claims["scope"]
	if !given {
		if value, given = claims["scp"]; !given {
			return nil, true
		}
	}
	if text, ok := unquoted(value); ok {
		return strings.FieldsFunc(text, func(r rune) bool { return r == ' ' }), true
	}
	return texts(value)
}

// texts returns a string, or a list of strings, as a list.
func texts(value jsontext.Value) ([]string, bool) {
	if text, ok := unquoted(value); ok {
		return []string{text}, true
	}
	var values []jsontext.Value
	if value.Kind() != '[' || json.Unmarshal(value, &values) != nil {
		return nil, false
	}
	list := make([]string, len(values))
	for i := range values {
		var ok bool
		if list[i], ok = unquoted(values[i]); !ok {
			return nil, false
		}
	}
	return list, true
}

// date returns a NumericDate (RFC 7519, section 2): seconds since 1970, perhaps with
// a fraction.
func date(value jsontext.Value) (time.Time, bool) {
	if value.Kind() != '0' {
		return time.Time{}, false
	}
	number, err := strconv.ParseFloat(string(value), 64)
	if err != nil || number < 0 || number > lastDate {
		return time.Time{}, false
	}
	seconds, fraction := math.Modf(number)
	return time.Unix(int64(seconds), int64(fraction*1e9)), true
}
