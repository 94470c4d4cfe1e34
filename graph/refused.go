package graph

import (
	"context"
	"errors"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/onceql/onceql/db"
	"github.com/onceql/onceql/graph/transport"
	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/idempotency/gqlidem"
	"github.com/onceql/onceql/internal/telemetry"
)

// Refused counts a refusal in the request that ctx belongs to, and says whether it is
// the first of its kind for a while: what else is said of it needs to be said once.
type Refused func(ctx context.Context, reason telemetry.Reason, operation string) (first bool)

// refused tells of an error that refuses what was asked for, and of no other. It says
// whether the log should have more about it.
func (p Presenter) refused(ctx context.Context, presented *gqlerror.Error, err error) (first bool) {
	var reason telemetry.Reason
	switch presented.Extensions["code"] {
	case CodeForbidden:
		reason = telemetry.Scope
	case CodeLimitExceeded:
		limit, _ := presented.Extensions["limit"].(string)
		reason = telemetry.Limit(limit)
	case gqlidem.CodeInProgress:
		reason = telemetry.InProgress
	case gqlidem.CodeUnavailable:
		switch {
		case errors.Is(err, idempotency.ErrOverloaded):
			reason = telemetry.QueueFull
		case errors.Is(err, db.ErrBusy), errors.Is(err, transport.ErrNoMemory):
			reason = telemetry.ShareFull
		case errors.Is(ctx.Err(), context.Canceled):
			return false // A caller that hung up is no trouble of the server's.
		default:
			reason = telemetry.Unavailable
		}
	default:
		return false
	}
	return p.Refused == nil || p.Refused(ctx, reason, operationOf(ctx))
}

// operationOf names what a request asks for by words of the schema: the mutation whose
// field ctx belongs to, "mutation" for a whole document, or "query". It is "" when the
// document was not read.
func operationOf(ctx context.Context) string {
	if !graphql.HasOperationContext(ctx) {
		return ""
	}
	operation := graphql.GetOperationContext(ctx).Operation
	switch {
	case operation == nil:
		return ""
	case operation.Operation != ast.Mutation:
		return string(ast.Query)
	}
	if root := graphql.GetRootFieldContext(ctx); root != nil {
		return root.Field.Name
	}
	return string(ast.Mutation)
}
