package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/onceql/onceql/graph"
	"github.com/onceql/onceql/idempotency/gqlidem"
	"github.com/onceql/onceql/internal/identity"
	"github.com/onceql/onceql/internal/telemetry"
)

// An Identifier establishes who sends a request.
type Identifier func(context.Context, http.Header) (identity.Identity, error)

// NewIdentifier returns what establishes who sends a request: the tokens of the
// issuer, whose keys are kept up to date until ctx ends, or where none is configured
// nothing, and everyone is anonymous.
func NewIdentifier(ctx context.Context, config identity.Config, log *slog.Logger) (Identifier, error) {
	if config.Issuer == "" {
		return func(context.Context, http.Header) (identity.Identity, error) { return identity.Anonymous, nil }, nil
	}
	config.Changed = func(state identity.KeysState, err error) {
		switch state {
		case identity.KeysCurrent:
			log.Info("the keys of AUTH_ISSUER can be fetched again")
		case identity.KeysOld:
			log.Warn("the keys of AUTH_ISSUER can't be fetched; those known are good for an hour", "err", err)
		case identity.KeysMissing:
			log.Error("no key of AUTH_ISSUER is known: no token can be checked", "err", err)
		}
	}
	verifier, err := identity.NewVerifier(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("AUTH_ISSUER: %w", err)
	}
	return verifier.Identify, nil
}

// Authenticate lets requests through whose sender is known.
func Authenticate(identify Identifier, refusals *telemetry.Refusals, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sender, err := identify(r.Context(), r.Header)
		switch {
		case err == nil:
			next.ServeHTTP(w, r.WithContext(identity.With(r.Context(), sender)))
		case errors.Is(err, identity.ErrUnavailable):
			refusals.Refuse(r.Context(), telemetry.Token(err), "")
			graph.Refuse(w, r, http.StatusServiceUnavailable, gqlidem.CodeUnavailable, "the token can't be checked for now; try again")
		default:
			refusals.Refuse(r.Context(), telemetry.Token(err), "")
			// https://www.rfc-editor.org/rfc/rfc6750#section-3
			challenge := `Bearer realm="onceql"`
			if r.Header.Get("Authorization") != "" {
				challenge += `, error="invalid_token"`
			}
			w.Header().Set("WWW-Authenticate", challenge)
			graph.Refuse(w, r, http.StatusUnauthorized, graph.CodeUnauthenticated, err.Error())
		}
	})
}

// May says whether the sender of a request has the scope.
func May(ctx context.Context, scope string) bool {
	sender, ok := identity.From(ctx)
	return ok && sender.May(scope)
}
