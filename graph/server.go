package graph

import (
	"log/slog"
	"net/http"

	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/99designs/gqlgen/graphql/handler/extension"
	"github.com/99designs/gqlgen/graphql/handler/lru"
	"github.com/vektah/gqlparser/v2/ast"

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

// Documents of more tokens are refused before they are validated, which takes
// time that grows with their square. GraphiQL's introspection has 184.
const maxTokens = 1000

// queryCache is how many parsed documents are kept.
const queryCache = 1000

// NewHandler returns the handler of /graphql. It panics when the schema has a
// mutation that is not idempotent by contract.
func NewHandler(resolver *Resolver, config Config) http.Handler {
	server := handler.New(generated.NewExecutableSchema(generated.Config{Resolvers: resolver}))
	server.AddTransport(transport.Transport{MaxBody: config.MaxBody})
	server.SetQueryCache(lru.New[*ast.QueryDocument](queryCache))
	server.SetParserTokenLimit(maxTokens)
	presenter := Presenter{Log: config.Log}
	server.SetErrorPresenter(presenter.Present)
	server.SetRecoverFunc(presenter.Recover)
	server.Use(surrogates{})
	server.Use(extension.Introspection{})
	server.Use(resolver.Once)
	return gqlidem.WithHeader(server)
}
