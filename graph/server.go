package graph

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net/http"

	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/99designs/gqlgen/graphql/handler/extension"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/onceql/onceql/graph/generated"
	"github.com/onceql/onceql/graph/transport"
	"github.com/onceql/onceql/idempotency/gqlidem"
)

// Config tunes the GraphQL handler.
type Config struct {
	// MaxBody is the size of the largest request body, in bytes. Zero means
	// transport.DefaultMaxBody.
	MaxBody int64
	// MaxValues is how many JSON values a request may have. Zero means
	// transport.DefaultMaxValues.
	MaxValues int
	// DocumentCacheBytes is about how much memory the parsed documents that are kept may
	// take. Zero means DefaultDocumentCacheBytes.
	DocumentCacheBytes int
	// Tenant says whose request a context belongs to; nil means that all are of one
	// tenant.
	Tenant func(context.Context) (string, error)
	// Limits bound each document.
	Limits Limits
	// HideSchema switches introspection off, and messages that suggest names.
	HideSchema bool
	// May says whether the caller may run operations of the kind; nil means that
	// everyone may run all.
	May func(context.Context, ast.Operation) bool
	// Log takes what clients are not told.
	Log *slog.Logger
	// Refused is told of each field and request that is refused, as telemetry.Refusals
	// is; nil means that nobody is.
	Refused Refused
}

// NewHandler returns the handler of /graphql. It panics when the schema has a
// mutation that is not idempotent by contract.
func NewHandler(resolvers generated.ResolverRoot, once *gqlidem.Once, config Config) http.Handler {
	server := handler.New(generated.NewExecutableSchema(generated.Config{
		Schema:    withoutDefer(generated.NewExecutableSchema(generated.Config{}).Schema()),
		Resolvers: resolvers,
	}))
	server.AddTransport(transport.Transport{MaxBody: config.MaxBody, MaxValues: config.MaxValues})
	cache := newDocumentCache(cmp.Or(config.DocumentCacheBytes, DefaultDocumentCacheBytes), config.Tenant)
	server.SetQueryCache(cache)
	limits := config.Limits.withDefaults()
	server.SetParserTokenLimit(limits.Tokens)
	server.SetDisableSuggestion(config.HideSchema)
	presenter := Presenter{config.Log, config.Refused}
	server.SetErrorPresenter(presenter.Present)
	server.SetRecoverFunc(presenter.Recover)
	if config.May != nil {
		server.Use(authorization{config.May})
	}
	server.Use(limiter{limits, !config.HideSchema})
	server.Use(sourceText{limits.Tokens})
	server.Use(&variableTypes{})
	if !config.HideSchema {
		server.Use(extension.Introspection{})
	}
	server.Use(once)
	server.Use(cache) // Last: it keeps what nobody refused.
	return countPanics(gqlidem.WithHeader(server), config.Log)
}

// withoutDefer returns the schema without the directive that gqlparser adds to
// every one: responses come in one piece here.
func withoutDefer(schema *ast.Schema) *ast.Schema {
	copied := *schema
	copied.Directives = maps.Clone(schema.Directives)
	delete(copied.Directives, "defer")
	return &copied
}
