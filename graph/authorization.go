package graph

import (
	"context"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/onceql/onceql/idempotency/gqlidem"
	"github.com/onceql/onceql/internal/telemetry"
)

// authorization refuses root fields to callers that may not run them: before the
// key is looked up, so that who may no longer call gets no replay either.
type authorization struct {
	may    func(context.Context, ast.Operation) bool
	tenant func(context.Context) (string, error)
	ended  telemetry.Ended
}

// ExtensionName implements graphql.HandlerExtension.
func (authorization) ExtensionName() string { return "Authorization" }

// Validate implements graphql.HandlerExtension.
func (authorization) Validate(graphql.ExecutableSchema) error { return nil }

// InterceptRootField implements graphql.RootFieldInterceptor.
func (a authorization) InterceptRootField(ctx context.Context, next graphql.RootResolver) graphql.Marshaler {
	field := graphql.GetRootFieldContext(ctx).Field
	operation := graphql.GetOperationContext(ctx).Operation.Operation
	if strings.HasPrefix(field.Name, "__") || a.may(ctx, operation) {
		return next(ctx)
	}
	forbidden := gqlidem.NewError(CodeForbidden, "this token may not run a "+string(operation))
	forbidden.Path = ast.Path{ast.PathName(field.Alias)}
	graphql.AddError(ctx, forbidden)
	a.tellForbidden(ctx, field)
	return graphql.Null
}
