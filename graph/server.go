package graph

import (
	"log/slog"
	"net/http"

	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/99designs/gqlgen/graphql/handler/extension"

	"github.com/onceql/onceql/graph/generated"
	"github.com/onceql/onceql/graph/transport"
	"github.com/onceql/onceql/idempotency/gqlidem"
)

// Config tunes the GraphQL handler.
type Config struct {
	// MaxBody is the size of the largest request body, in bytes. Zero means
	// 1 MiB.
	MaxBody int64
	// Log takes what clients are not told.
	Log *slog.Logger
}

// NewHandler returns the handler of /graphql. It panics when the schema has a
// mutation that is not idempotent by contract.
func NewHandler(resolvers generated.ResolverRoot, once *gqlidem.Once, config Config) http.Handler {
	server := handler.New(generated.NewExecutableSchema(generated.Config{
		Schema:    withoutDefer(generated.NewExecutableSchema(generated.Config{}).Schema()),
		Resolvers: resolvers,
	}))
	server.AddTransport(transport.Transport{MaxBody: config.MaxBody})
	server.SetQueryCache(newDocumentCache())
	server.SetParserTokenLimit(maxTokens)
	presenter := Presenter{Log: config.Log}
	server.SetErrorPresenter(presenter.Present)
	server.SetRecoverFunc(presenter.Recover)
	server.Use(surrogates{})
	server.Use(&variableTypes{})
	server.Use(extension.Introspection{})
	server.Use(once)
	return gqlidem.WithHeader(server)
}
