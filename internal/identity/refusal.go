package identity

import (
	"errors"
	"fmt"
)

var (
	// ErrUnauthenticated reports a token that is missing, or not one that the
	// issuer made for this server and for now.
	ErrUnauthenticated = errors.New("not authenticated")
	// ErrUnavailable reports that the issuer can't be reached, and that what is
	// known of it does not tell.
	ErrUnavailable = errors.New("the token issuer can't be reached for now")
)

// A refusal is why a request is not authenticated. Its reason is for the operator,
// who counts, and its text for the client, who learns less. Neither holds anything
// of the token.
type refusal struct{ reason, text string }

// Error implements error.
func (r refusal) Error() string { return ErrUnauthenticated.Error() + ": " + r.text }

// Unwrap makes a refusal ErrUnauthenticated.
func (r refusal) Unwrap() error { return ErrUnauthenticated }

const (
	refused   = "the bearer token is refused: "
	unread    = refused + "it is malformed, or signed in a way that is not accepted"
	unclaimed = refused + "its claims can't be read"
	unsigned  = refused + "its signature is not one of the issuer's"
)

var (
	errMissing       = refusal{"missing", "send a bearer token in the header Authorization"}
	errTwice         = refusal{"authorization", refused + "there is more than one header Authorization"}
	errAuthorization = refusal{"authorization", refused + "the header Authorization is not of the form Bearer <token>"}
	errTooLong       = refusal{"too_long", fmt.Sprintf("%sit is longer than %d bytes", refused, maxToken)}
	errNoToken       = refusal{"malformed", refused + "it is not a JSON Web Token"}
	errMalformed     = refusal{"malformed", unread}
	errType          = refusal{"type", unread}
	errCritical      = refusal{"critical", unread}
	errAlgorithm     = refusal{"algorithm", unread}
	errKey           = refusal{"key", unsigned}
	errSignature     = refusal{"signature", unsigned}
	errClaims        = refusal{"claims", unclaimed}
	errIssuer        = refusal{"issuer", refused + "it is of another issuer"}
	errAudience      = refusal{"audience", refused + "it is for another audience"}
	errExpired       = refusal{"expired", refused + "it has expired, or does not say when it will"}
	errNotYet        = refusal{"not_yet", refused + "it is not valid yet"}
	errTenant        = refusal{"tenant", refused + "it names no tenant"}
	errScope         = refusal{"scope", unclaimed}
)

// unavailable is the reason of ErrUnavailable.
const unavailable = "unavailable"

// Reasons returns every reason that Reason gives.
func Reasons() []string {
	return []string{
		errMissing.reason, errAuthorization.reason, errTooLong.reason, errMalformed.reason, errType.reason,
		errCritical.reason, errAlgorithm.reason, errKey.reason, errSignature.reason, errClaims.reason,
		errIssuer.reason, errAudience.reason, errExpired.reason, errNotYet.reason, errTenant.reason,
		errScope.reason, unavailable,
	}
}

// Reason returns why Identify refused a request: one of Reasons, or "" for any other
// error. It tells more than the client may know.
func Reason(err error) string {
	var r refusal
	switch {
	case errors.As(err, &r):
		return r.reason
	case errors.Is(err, ErrUnavailable):
		return unavailable
	}
	return ""
}
