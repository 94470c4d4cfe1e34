package graph

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/handler/lru"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"github.com/onceql/onceql/idempotency/gqlidem"
)

// So many parsed documents are kept, of those that have at most so many bytes: a
// document of few tokens may be as long as a body, and a parsed one of 1000
// tokens takes 100 KB.
const (
	cachedDocuments   = 1000
	maxCachedDocument = 8 << 10
)

// A documentCache keeps the parsed documents.
type documentCache struct {
	*lru.LRU[*ast.QueryDocument]
}

func newDocumentCache() documentCache {
	return documentCache{lru.New[*ast.QueryDocument](cachedDocuments)}
}

// Add implements graphql.Cache.
func (c documentCache) Add(ctx context.Context, query string, document *ast.QueryDocument) {
	if len(query) <= maxCachedDocument {
		c.LRU.Add(ctx, query, document)
	}
}

// withoutDefer returns the schema without the directive that gqlparser adds to
// every one: responses come in one piece here.
func withoutDefer(schema *ast.Schema) *ast.Schema {
	copied := *schema
	copied.Directives = maps.Clone(schema.Directives)
	delete(copied.Directives, "defer")
	return &copied
}

// requestError gives gqlgen's own word on a document, or on its variables, the
// code that says what they are about.
func requestError(ctx context.Context, err *gqlerror.Error) *gqlerror.Error {
	presented := *err
	switch code := err.Extensions["code"]; {
	case strings.HasPrefix(err.Message, "exceeded token limit"):
		return limitExceeded("tokens", "the document has more tokens than the limit of "+strings.TrimPrefix(err.Message, "exceeded token limit of "))
	case err.Rule == rules.MaxIntrospectionDepth.Name:
		exceeded := limitExceeded("introspectionDepth", "the introspection nests lists too deeply")
		exceeded.Locations = err.Locations
		return exceeded
	case code == nil:
		presented.Extensions = map[string]any{"code": CodeValidationFailed}
	case code == CodeValidationFailed && graphql.HasOperationContext(ctx):
		operation := graphql.GetOperationContext(ctx)
		switch {
		case operation.Doc == nil: // It is the document that is not valid.
		case operation.Operation == nil:
			presented.Message = noOperation(operation)
		default:
			return variableError(err)
		}
	}
	return &presented
}

func limitExceeded(limit, message string) *gqlerror.Error {
	exceeded := gqlidem.NewError(CodeLimitExceeded, message)
	exceeded.Extensions["limit"] = limit
	return exceeded
}

func noOperation(operation *graphql.OperationContext) string {
	if operation.OperationName == "" {
		return "the document has more than one operation: name one in operationName"
	}
	return "the document has no operation of the name in operationName"
}

// variableError names the variable in the message: a path is one into the
// response, and there is none.
func variableError(err *gqlerror.Error) *gqlerror.Error {
	refused := badInput("%s", err.Message)
	// gqlparser quotes the number that it ended up with, not the one it was given.
	if _, typ, ok := strings.Cut(err.Message, " as "); ok && strings.HasPrefix(err.Message, "cannot use value ") {
		refused.Message = "cannot use this number as " + typ
	}
	if len(err.Path) > 1 {
		refused.Message = fmt.Sprintf("$%s: %s", err.Path[1:], refused.Message)
	}
	return refused
}
