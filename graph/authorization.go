package graph

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/onceql/onceql/idempotency/gqlidem"
	"github.com/onceql/onceql/internal/identity"
	"github.com/onceql/onceql/internal/telemetry"
)

// authorization refuses root fields to callers that may not run them: before the
// key is looked up, so that who may no longer call gets no replay either.
type authorization struct {
	may    func(ctx context.Context, scope string) bool
	tenant func(context.Context) (string, error)
	ended  telemetry.Ended
}

// scopes are those of which a token needs one to run the root field. What one key did is
// known to who reads projects too; to list keys takes a scope of its own.
func scopes(operation ast.Operation, field string) []string {
	switch {
	case operation == ast.Mutation:
		return []string{identity.ScopeWrite}
	case field == "idempotentCalls":
		return []string{identity.ScopeKeys}
	case field == "idempotentCall":
		return []string{identity.ScopeRead, identity.ScopeKeys}
	}
	return []string{identity.ScopeRead}
}

// ExtensionName implements graphql.HandlerExtension.
func (authorization) ExtensionName() string { return "Authorization" }

// Validate implements graphql.HandlerExtension.
func (authorization) Validate(graphql.ExecutableSchema) error { return nil }

// InterceptRootField implements graphql.RootFieldInterceptor.
func (a authorization) InterceptRootField(ctx context.Context, next graphql.RootResolver) graphql.Marshaler {
	field := graphql.GetRootFieldContext(ctx).Field
	operation := graphql.GetOperationContext(ctx).Operation.Operation
	needed := scopes(operation, field.Name)
	if strings.HasPrefix(field.Name, "__") || slices.ContainsFunc(needed, func(scope string) bool { return a.may(ctx, scope) }) {
		return next(ctx)
	}
	forbidden := gqlidem.NewError(CodeForbidden, fmt.Sprintf("this token may not run this %s: it has not the scope %s", operation, strings.Join(needed, " or ")))
	forbidden.Path = ast.Path{ast.PathName(field.Alias)}
	graphql.AddError(ctx, forbidden)
	a.tellForbidden(ctx, field)
	return graphql.Null
}
