package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/onceql/onceql/graph"
	"github.com/onceql/onceql/idempotency/gqlidem"
	"github.com/onceql/onceql/internal/identity"
	"github.com/onceql/onceql/internal/requestid"
)

// identifier establishes who sends a request.
type identifier func(context.Context, http.Header) (identity.Identity, error)

// identify returns what establishes who sends a request: the tokens of AUTH_ISSUER,
// or nothing, where everyone is anonymous.
func (c *serveCommand) identify(ctx context.Context, log *slog.Logger) (identifier, error) {
	if c.AuthIssuer == "" {
		return func(context.Context, http.Header) (identity.Identity, error) { return identity.Anonymous, nil }, nil
	}
	verifier, err := identity.NewVerifier(ctx, identity.Config{Issuer: c.AuthIssuer, Audience: c.AuthAudience, TenantClaim: c.AuthTenant})
	if errors.Is(err, identity.ErrUnavailable) {
		log.Warn("AUTH_ISSUER can't be reached yet; it is tried again as tokens come", "err", err)
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("AUTH_ISSUER: %w", err)
	}
	return verifier.Identify, nil
}

// authenticated lets requests through whose sender is known.
func authenticated(identify identifier, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sender, err := identify(r.Context(), r.Header)
		switch {
		case err == nil:
			next.ServeHTTP(w, r.WithContext(identity.With(r.Context(), sender)))
		case errors.Is(err, identity.ErrUnavailable):
			w.Header().Set("Retry-After", "1")
			refuse(w, r, http.StatusServiceUnavailable, gqlidem.CodeUnavailable, "the token can't be checked for now; try again")
		default:
			// https://www.rfc-editor.org/rfc/rfc6750#section-3
			challenge := `Bearer realm="onceql"`
			if r.Header.Get("Authorization") != "" {
				challenge += `, error="invalid_token"`
			}
			w.Header().Set("WWW-Authenticate", challenge)
			refuse(w, r, http.StatusUnauthorized, graph.CodeUnauthenticated, err.Error())
		}
	})
}

// may says what the scopes of a token allow.
func may(ctx context.Context, operation ast.Operation) bool {
	sender, ok := identity.From(ctx)
	if operation == ast.Mutation {
		return ok && sender.May(identity.ScopeWrite)
	}
	return ok && sender.May(identity.ScopeRead)
}

// refuse answers a request that came to nothing as GraphQL answers its errors.
func refuse(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	extensions := map[string]any{
		"code": code, "retryable": code == gqlidem.CodeUnavailable, "requestId": requestid.From(r.Context()),
	}
	if code == gqlidem.CodeUnavailable {
		extensions["retryAfterMs"] = gqlidem.RetryAfter.Milliseconds()
	}
	mediaType := "application/json"
	if strings.Contains(r.Header.Get("Accept"), "application/graphql-response+json") {
		mediaType = "application/graphql-response+json"
	}
	w.Header().Set("Content-Type", mediaType+"; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []any{map[string]any{"message": message, "extensions": extensions}}})
}
