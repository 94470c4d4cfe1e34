// Package identity says who sends a request: a tenant and what it may do, from a
// bearer token.
package identity

import (
	"context"
	"errors"
	"slices"
)

// The scopes that a token may hold, in its claim `scope` (RFC 8693, section 4.2).
const (
	ScopeRead  = "projects:read"
	ScopeWrite = "projects:write"
	ScopeKeys  = "keys:read" // What the tenant's idempotency keys did.
)

// known are all of them.
var known = []string{ScopeRead, ScopeWrite, ScopeKeys}

// An Identity is a tenant and what the request may do in its name: those of the scopes
// above that its token holds.
type Identity struct {
	Tenant string
	Scopes []string
}

// Anonymous is everyone where nobody is authenticated. No token has its tenant.
var Anonymous = Identity{Tenant: "", Scopes: known}

// May says whether the identity has the scope.
func (i Identity) May(scope string) bool { return slices.Contains(i.Scopes, scope) }

type contextKey struct{}

// With returns ctx for a request of the identity.
func With(ctx context.Context, i Identity) context.Context {
	return context.WithValue(ctx, contextKey{}, i)
}

// From returns the identity of the request that ctx belongs to, and false when it
// was not established.
func From(ctx context.Context) (Identity, bool) {
	i, ok := ctx.Value(contextKey{}).(Identity)
	return i, ok
}

// Tenant returns the tenant of the request that ctx belongs to.
func Tenant(ctx context.Context) (string, error) {
	i, ok := From(ctx)
	if !ok {
		return "", errors.New("the request has no identity")
	}
	return i.Tenant, nil
}
