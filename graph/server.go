package graph

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net/http"
	"runtime"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/99designs/gqlgen/graphql/handler/extension"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/onceql/onceql/graph/generated"
	"github.com/onceql/onceql/graph/transport"
	"github.com/onceql/onceql/idempotency/gqlidem"
	"github.com/onceql/onceql/internal/fair"
	"github.com/onceql/onceql/internal/telemetry"
)

// Config tunes the GraphQL handler.
type Config struct {
	// MaxBody is the size of the largest request body, in bytes. Zero means
	// transport.DefaultMaxBody.
	MaxBody int64
	// MaxValues is how many JSON values a request may have. Zero means
	// transport.DefaultMaxValues.
	MaxValues int
	// MaxAnswer is how many bytes of strings a query may read for its answer, as JSON has
	// them. Zero means transport.DefaultMaxAnswer.
	MaxAnswer int64
	// BodyMemory is how many bytes of bodies larger than 4 KiB may be held at once; one
	// tenant has at most half of them, and an equal share of what stays free when others
	// have some. Zero means DefaultBodyMemory.
	BodyMemory int64
	// AnswerMemory is how many bytes of answers larger than 32 KiB may be held at once, shared
	// as BodyMemory is. Zero means DefaultAnswerMemory.
	AnswerMemory int64
	// AnswerTimeout is how long an answer may take to be written. Zero leaves that to the
	// server, see transport.Transport.
	AnswerTimeout time.Duration
	// Decoding is how many requests are decoded and validated at once; one tenant has at
	// most three quarters of that, and its share while others wait. Zero means as many as
	// there are processors, and two where there is one.
	Decoding int
	// TenantRequests is how many requests of one tenant are at work at once while another
	// tenant is active. Zero means DefaultTenantRequests for each processor.
	TenantRequests int
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
	// May says whether the caller's token has the scope; nil means that everyone may run
	// everything.
	May func(ctx context.Context, scope string) bool
	// Log takes what clients are not told.
	Log *slog.Logger
	// Refused is told of each field and request that is refused, as telemetry.Refusals
	// is; nil means that nobody is.
	Refused Refused
	// Ended is told of each keyed call that May does not allow, as Resolver.Ended is of
	// all others; nil means that nobody is.
	Ended telemetry.Ended
	// Around is an extension that stands around all others, as one that records fields
	// does; nil means none.
	Around graphql.HandlerExtension
}

// DefaultTenantRequests is how many requests of one tenant are at work at once for each
// processor, while another tenant is active: enough to fill batches.
const DefaultTenantRequests = 4

const (
	// DefaultBodyMemory has room for 32 bodies of the largest size.
	DefaultBodyMemory = 32 << 20
	// DefaultAnswerMemory has room for 8 answers of the largest size.
	DefaultAnswerMemory = 64 << 20
)

// One tenant has at most half of the memory for bodies and for answers, because a slow one may
// hold its share for long, and three quarters of the processors. Those who wait hold no memory
// but their connections'.
const (
	shareOfMemory   = 1
	shareOfDecoding = 3
	waitingBodies   = 1024
	waitingToRead   = 1024
	waitingToDecode = 4096
	waitingToWork   = 4096
)

// NewHandler returns the handler of /graphql. It panics when the schema has a
// mutation that is not idempotent by contract.
func NewHandler(resolvers generated.ResolverRoot, once *gqlidem.Once, config Config) http.Handler {
	return countPanics(gqlidem.WithHeader(newServer(resolvers, once, config)), config.Log)
}

func newServer(resolvers generated.ResolverRoot, once *gqlidem.Once, config Config) *handler.Server {
	server := handler.New(generated.NewExecutableSchema(generated.Config{
		Schema:    withoutDefer(generated.NewExecutableSchema(generated.Config{}).Schema()),
		Resolvers: resolvers,
	}))
	server.AddTransport(transport.Transport{
		MaxBody: config.MaxBody, MaxValues: config.MaxValues, MaxAnswer: config.MaxAnswer, Tenant: config.Tenant, Busy: config.busy, AnswerTimeout: config.AnswerTimeout,
		Bodies:   fair.New(fair.Config{Slots: cmp.Or(config.BodyMemory, DefaultBodyMemory), Share: shareOfMemory, Waiting: waitingBodies, OfOne: waitingBodies}),
		Answers:  fair.New(fair.Config{Slots: cmp.Or(config.AnswerMemory, DefaultAnswerMemory), Share: shareOfMemory, Waiting: waitingToRead, OfOne: waitingToRead}),
		Decoding: fair.New(fair.Config{Slots: int64(cmp.Or(config.Decoding, max(2, runtime.GOMAXPROCS(0)))), Share: shareOfDecoding, Waiting: waitingToDecode, OfOne: waitingToDecode}),
		Working: fair.NewCap(fair.CapConfig{
			AtOnce: cmp.Or(config.TenantRequests, DefaultTenantRequests*runtime.GOMAXPROCS(0)), Waiting: waitingToWork, OfOne: waitingToWork,
		}),
	})
	cache := newDocumentCache(cmp.Or(config.DocumentCacheBytes, DefaultDocumentCacheBytes), config.Tenant)
	server.SetQueryCache(cache)
	limits := config.Limits.withDefaults()
	server.SetParserTokenLimit(limits.Tokens)
	server.SetDisableSuggestion(config.HideSchema)
	presenter := Presenter{config.Log, config.Refused}
	server.SetErrorPresenter(presenter.Present)
	server.SetRecoverFunc(presenter.Recover)
	if config.Around != nil {
		server.Use(config.Around)
	}
	if config.May != nil {
		server.Use(authorization{config.May, config.Tenant, config.Ended})
	}
	server.Use(limiter{limits, !config.HideSchema})
	server.Use(sourceText{limits.Tokens})
	server.Use(&variableTypes{})
	if !config.HideSchema {
		server.Use(extension.Introspection{})
	}
	server.Use(once)
	server.Use(cache) // Last: it keeps what nobody refused.
	return server
}

// busy tells of a request that waited in vain for its tenant's share.
func (c Config) busy(ctx context.Context) {
	if c.Refused != nil {
		c.Refused(ctx, telemetry.ShareFull, "")
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
