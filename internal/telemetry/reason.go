package telemetry

import (
	"errors"
	"slices"

	"github.com/onceql/onceql/internal/identity"
)

// A Reason is why something was refused: the label of onceql_refused_total. The values
// are those of Reasons and no others, so nothing that a client sends becomes one.
type Reason string

// What is refused before the document is read, besides tokens, see Token.
const (
	// IssuerAway is a token that can't be checked while its issuer can't be reached.
	IssuerAway Reason = "issuer_away"
	// CrossSite is what a browser sends for a page of another site.
	CrossSite Reason = "cross_site"
	// Host is a request to a host that this server does not answer for.
	Host Reason = "host"
	// TenantRate is a request above its tenant's rate.
	TenantRate Reason = "tenant_rate"
	// DatabaseAway is a request while the database takes no mutations.
	DatabaseAway Reason = "database_away"
	// QueueFull is a request, or a mutation, that has no place in the queue.
	QueueFull Reason = "queue_full"
	// ShareFull is a request, or a query, that waited in vain for what its tenant shares
	// with others: memory for bodies and answers, decoding, or connections for queries.
	ShareFull Reason = "share_full"
)

// What is refused once the document is read.
const (
	// Scope is an operation that the token's scopes do not allow.
	Scope Reason = "scope"
	// Unavailable is a field whose outcome is not known, other than IssuerAway,
	// DatabaseAway and QueueFull.
	Unavailable Reason = "unavailable"
	// InProgress is a mutation whose key executes longer than its caller waits.
	InProgress Reason = "in_progress"
)

// other is the reason of what has none that is known: a defect of the caller's.
const other Reason = "other"

// tokens are the reasons of identity.Reason, of which one is IssuerAway.
var tokens = slices.DeleteFunc(identity.Reasons(), func(reason string) bool { return reason == identity.Reason(identity.ErrUnavailable) })

// Token is why identity.Verifier refused a request: err is of its Identify.
func Token(err error) Reason {
	switch reason := identity.Reason(err); {
	case errors.Is(err, identity.ErrUnavailable):
		return IssuerAway
	case slices.Contains(tokens, reason):
		return Reason("token_" + reason)
	}
	return other
}

// limits are the names in `extensions.limit`.
var limits = []string{
	"body", "tokens", "depth", "aliases", "directives", "rootFields", "keyedMutations", "complexity",
	"introspection", "introspectionDepth", "name", "values", "queryTime", "answer", "keys", "bytes",
}

// Limit is a request beyond the limit of that name, which is one of
// `extensions.limit`.
func Limit(name string) Reason {
	if !slices.Contains(limits, name) {
		return "limit_other"
	}
	return Reason("limit_" + name)
}

// Reasons returns every reason.
func Reasons() []Reason {
	all := []Reason{
		IssuerAway, CrossSite, Host, TenantRate, DatabaseAway, QueueFull, ShareFull, Scope, Unavailable, InProgress,
		"limit_other", other,
	}
	for _, reason := range tokens {
		all = append(all, Reason("token_"+reason))
	}
	for _, name := range limits {
		all = append(all, Limit(name))
	}
	return all
}
