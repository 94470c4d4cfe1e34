package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/onceql/onceql/graph"
	"github.com/onceql/onceql/graph/transport"
	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/internal/embeddedpg"
	"github.com/onceql/onceql/internal/identity"
	"github.com/onceql/onceql/internal/quota"
	"github.com/onceql/onceql/internal/server"
	"github.com/onceql/onceql/internal/telemetry"
	"github.com/onceql/onceql/internal/telemetry/tracing"
)

// commandLine is what `onceql --help` explains. Every flag has an environment
// variable of the same meaning.
type commandLine struct {
	Serve       serveCommand       `cmd:"" default:"withargs" help:"Run the server (the default)."`
	Migrate     migrateCommand     `cmd:"" help:"Bring the database to this build's schema, or show how far it is."`
	Key         keyCommand         `cmd:"" help:"Show, list, check and forget what keys did."`
	Tenant      tenantCommand      `cmd:"" help:"List, show, export and remove what is stored for tenants."`
	Healthcheck healthcheckCommand `cmd:"" help:"Ask the server on this machine how it is; exit with 0 or 1."`
	Version     kong.VersionFlag   `help:"Print the version and exit."`
}

// databaseFlags say which database is used.
type databaseFlags struct {
	DatabaseURL          string `name:"database-url" env:"DATABASE_URL" help:"PostgreSQL to use, as a URL or as keywords and values. None: an embedded PostgreSQL under the data directory."`
	MigrationDatabaseURL string `name:"migration-database-url" env:"MIGRATION_DATABASE_URL" help:"The same database for a role that may change its schema. None: the database URL."`
	OperatorDatabaseURL  string `name:"operator-database-url" env:"OPERATOR_DATABASE_URL" help:"The same database for operators, who see the keys of all tenants. Migrations grant its role what it needs."`
	DataDir              string `env:"DATA_DIR" default:"${data_dir}" help:"Where the embedded PostgreSQL keeps its data, or none: there is no embedded PostgreSQL (${default})."`
}

// logFlags say what is logged, and how.
type logFlags struct {
	LogLevel  slog.Level `env:"LOG_LEVEL" default:"info" help:"Least level that is logged: debug, info, warn or error (${default})."`
	LogFormat string     `env:"LOG_FORMAT" default:"text" enum:"text,json" help:"Form of the log on standard error: text or json (${default})."`
}

func (f logFlags) logger() *slog.Logger {
	options := &slog.HandlerOptions{Level: f.LogLevel}
	if f.LogFormat == "json" {
		return slog.New(tracing.InContext(slog.NewJSONHandler(os.Stderr, options)))
	}
	return slog.New(tracing.InContext(slog.NewTextHandler(os.Stderr, options)))
}

// serveCommand is the configuration of the server.
type serveCommand struct {
	databaseFlags
	logFlags
	ListenAddr     string        `env:"LISTEN_ADDR" default:"127.0.0.1:8080" help:"Address to listen on; port 0 takes any free one (${default})."`
	TrustParent    bool          `name:"trust-traceparent" env:"TRUST_TRACEPARENT" help:"Continue the trace that a request's header traceparent names, and sample as it says. For servers whose edge makes that header; otherwise a trace links to the sender's."`
	MetricsAddr    string        `env:"METRICS_ADDR" help:"Address of /metrics, which has a listener of its own and asks nobody who they are. None: off."`
	MetricsTenants bool          `env:"METRICS_TENANTS" help:"Count the calls of tenants too, and tell them at /tenants of METRICS_ADDR, by the tenants' names."`
	AllowAnonymous bool          `env:"ALLOW_ANONYMOUS" help:"Serve without authentication beyond the loopback interface."`
	AllowedHosts   []string      `env:"ALLOWED_HOSTS" help:"Names of this server that requests may have in Host, besides addresses, localhost and that of LISTEN_ADDR, separated by commas. Others are refused where nobody is authenticated, and wherever this is set."`
	AuthIssuer     string        `env:"AUTH_ISSUER" help:"URL of the OpenID Connect issuer whose bearer tokens are accepted. None: everyone is one anonymous tenant."`
	AuthAudience   string        `env:"AUTH_AUDIENCE" help:"This server's name in the tokens' claim aud; needed with an issuer."`
	AuthTenant     string        `name:"auth-tenant-claim" env:"AUTH_TENANT_CLAIM" default:"sub" help:"The claim that names the tenant (${default})."`
	CORSOrigins    []string      `name:"cors-origins" env:"CORS_ORIGINS" help:"Origins whose pages may call the API, such as https://app.example.com, separated by commas."`
	TTL            time.Duration `name:"idempotency-ttl" env:"IDEMPOTENCY_TTL" default:"${ttl}" help:"How long a result is replayed (${default})."`
	Retention      time.Duration `name:"idempotency-retention" env:"IDEMPOTENCY_RETENTION" default:"${retention}" help:"How long a key is kept, and refused once its result is no longer replayed; at least the TTL (${default})."`
	Wait           time.Duration `name:"idempotency-wait" env:"IDEMPOTENCY_WAIT" default:"${wait}" help:"How long a call waits for its outcome before it is told to come again (${default})."`
	Budget         time.Duration `name:"idempotency-budget" env:"IDEMPOTENCY_BUDGET" default:"${budget}" help:"How long one execution may take (${default})."`
	GroupBy        string        `name:"idempotency-group-by" env:"IDEMPOTENCY_GROUP_BY" default:"all" enum:"all,scope" help:"Whose calls may share a transaction: those of all tenants, or of one (scope), for a distributed engine (${default})."`
	DrainDelay     time.Duration `env:"DRAIN_DELAY" default:"0s" help:"How long the server takes requests after SIGTERM, while /readyz says that it drains (${default})."`
	DrainTimeout   time.Duration `env:"DRAIN_TIMEOUT" default:"15s" help:"How long running requests may take to end after that (${default})."`
	AcceptVersion  bool          `name:"accept-if-version" env:"ACCEPT_IF_VERSION" default:"true" negatable:"" help:"Accept ifVersion in updates. Not while a build runs whose updates raise no version (${default})."`
	MaxBodyBytes   int64         `env:"MAX_BODY_BYTES" default:"${max_body}" help:"Size of the largest request body (${default})."`
	limitFlags
	timeoutFlags
	shareFlags
	quotaFlags
}

// limitFlags bound what one document may ask for.
type limitFlags struct {
	LimitValues         int   `env:"LIMIT_VALUES" default:"${limit_values}" help:"Most JSON values of a request, objects and lists among them (${default})."`
	LimitAnswerBytes    int64 `env:"LIMIT_ANSWER_BYTES" default:"${limit_answer}" help:"Most bytes of names and descriptions that a query reads for its answer, as JSON has them (${default})."`
	LimitTokens         int   `env:"LIMIT_TOKENS" default:"${limit_tokens}" help:"Most tokens of a document; the time to validate it grows with their square (${default})."`
	LimitDepth          int   `env:"LIMIT_DEPTH" default:"${limit_depth}" help:"How deeply fields may be nested (${default})."`
	LimitAliases        int   `env:"LIMIT_ALIASES" default:"${limit_aliases}" help:"Most aliases (${default})."`
	LimitDirectives     int   `env:"LIMIT_DIRECTIVES" default:"${limit_directives}" help:"Most directives (${default})."`
	LimitRootFields     int   `env:"LIMIT_ROOT_FIELDS" default:"${limit_root_fields}" help:"Most root fields (${default})."`
	LimitKeyedMutations int   `env:"LIMIT_KEYED_MUTATIONS" default:"${limit_keyed_mutations}" help:"Most mutations with an idempotency key in one document (${default})."`
	LimitComplexity     int   `env:"LIMIT_COMPLEXITY" default:"${limit_complexity}" help:"Most fields of an answer, those of a page counted as often as the page has items (${default})."`
	Introspection       bool  `env:"INTROSPECTION" default:"true" negatable:"" help:"Answer introspection, and suggest names in errors (${default})."`
}

func (f limitFlags) limits() graph.Limits {
	return graph.Limits{
		Tokens: f.LimitTokens, Depth: f.LimitDepth, Aliases: f.LimitAliases, Directives: f.LimitDirectives,
		RootFields: f.LimitRootFields, KeyedMutations: f.LimitKeyedMutations, Complexity: f.LimitComplexity,
	}
}

// shareFlags bound what all tenants have together, of which each has at most its share.
type shareFlags struct {
	BodyMemoryBytes    int64         `env:"BODY_MEMORY_BYTES" default:"${body_memory}" help:"How many bytes of request bodies larger than 4 KiB may be held at once; one tenant has half of them at most (${default})."`
	AnswerMemoryBytes  int64         `env:"ANSWER_MEMORY_BYTES" default:"${answer_memory}" help:"How many bytes of answers larger than 32 KiB may be held at once; one tenant has half of them at most (${default})."`
	DecodeAtOnce       int           `env:"DECODE_AT_ONCE" default:"0" help:"How many requests are decoded and validated at once; one tenant has three quarters of that at most. 0: as many as there are processors, at least 2 (${default})."`
	TenantRequests     *int          `env:"TENANT_REQUESTS" help:"How many requests of one tenant are at work at once while another tenant is active. None: ${tenant_requests} for each processor."`
	DocumentCacheBytes int           `env:"DOCUMENT_CACHE_BYTES" default:"${document_cache}" help:"How much memory the parsed documents that are kept may take, in bytes; one of them a sixty-fourth of that (${default})."`
	QueryConnections   int32         `env:"QUERY_CONNECTIONS" default:"8" help:"Connections for queries; one tenant has three quarters of them at most (${default})."`
	QueryQueue         int           `env:"QUERY_QUEUE" default:"4096" help:"How many queries may wait for a connection, and of one tenant a quarter of that (${default})."`
	QueryTimeout       time.Duration `env:"QUERY_TIMEOUT" default:"5s" help:"How long a query may run in the database (${default})."`
}

// tenantRequests is zero where it is not set.
func (f shareFlags) tenantRequests() int {
	if f.TenantRequests == nil {
		return 0
	}
	return *f.TenantRequests
}

func (f shareFlags) validateShares(maxBody, maxAnswer int64) error {
	switch {
	case f.QueryConnections < 1 || f.QueryQueue < 1:
		return errors.New("QUERY_CONNECTIONS and QUERY_QUEUE must be at least 1")
	case f.DecodeAtOnce < 0:
		return errors.New("DECODE_AT_ONCE is negative")
	case f.TenantRequests != nil && *f.TenantRequests < 1:
		return errors.New("TENANT_REQUESTS must be at least 1")
	case f.BodyMemoryBytes < maxBody:
		return errors.New("BODY_MEMORY_BYTES is less than MAX_BODY_BYTES: the largest body would never be read")
	case f.AnswerMemoryBytes < maxAnswer:
		return errors.New("ANSWER_MEMORY_BYTES is less than LIMIT_ANSWER_BYTES: the largest answer would take more than there is")
	case f.DocumentCacheBytes < 1:
		return errors.New("DOCUMENT_CACHE_BYTES must be at least 1")
	case f.QueryTimeout < time.Millisecond:
		return errors.New("QUERY_TIMEOUT must be at least a millisecond")
	case f.QueryTimeout > math.MaxInt32*time.Millisecond:
		return fmt.Errorf("QUERY_TIMEOUT is %s, longer than Postgres's timeouts can be, 24 days", short(f.QueryTimeout))
	}
	return nil
}

// quotaFlags bound what each tenant may ask for, however much is free.
type quotaFlags struct {
	TenantRate  float64 `env:"TENANT_RATE" default:"0" help:"Most requests of one tenant in a second; 0: any number (${default})."`
	TenantBurst int     `env:"TENANT_BURST" default:"0" help:"Most requests of one tenant at once, where TENANT_RATE is set; 0: those of a second (${default})."`
	TenantKeys  int64   `env:"TENANT_KEYS" default:"0" help:"Most keys that are stored for one tenant, until they are purged; 0: any number (${default})."`
	TenantBytes int64   `env:"TENANT_BYTES" default:"0" help:"Most bytes of results that are stored for one tenant; 0: any number (${default})."`
}

func (f quotaFlags) validateQuotas() error {
	switch {
	case !(f.TenantRate >= 0 && f.TenantRate <= 1e9) || f.TenantBurst < 0:
		return errors.New("TENANT_RATE and TENANT_BURST are numbers that are not negative")
	case f.TenantKeys < 0 || f.TenantBytes < 0:
		return errors.New("TENANT_KEYS and TENANT_BYTES are numbers that are not negative")
	case f.TenantBurst > 0 && f.TenantRate == 0:
		return errors.New("TENANT_BURST belongs to TENANT_RATE, which is not set")
	}
	return nil
}

// rate returns what bounds the requests of a tenant, or nil where nothing does.
func (f quotaFlags) rate() *quota.Rate {
	if f.TenantRate == 0 {
		return nil
	}
	return quota.NewRate(f.TenantRate, cmp.Or(f.TenantBurst, int(math.Ceil(f.TenantRate))))
}

// timeoutFlags bound how long a client may take, and a request.
type timeoutFlags struct {
	HeaderTimeout  time.Duration `env:"HEADER_TIMEOUT" default:"10s" help:"How long the head of a request may take to arrive (${default})."`
	BodyTimeout    time.Duration `env:"BODY_TIMEOUT" default:"30s" help:"How long a whole request may take to arrive (${default})."`
	IdleTimeout    time.Duration `env:"IDLE_TIMEOUT" default:"2m" help:"How long a connection may be idle between two requests (${default})."`
	AnswerTimeout  time.Duration `env:"ANSWER_TIMEOUT" default:"30s" help:"How long a client may take to read an answer (${default})."`
	RequestTimeout time.Duration `env:"REQUEST_TIMEOUT" default:"1m" help:"How long a request may take until what it still waits for is given up (${default})."`
}

// Validate is called by kong once the flags are read.
func (c *serveCommand) Validate() error {
	for _, validate := range []func() error{
		c.databaseFlags.Validate,
		c.validateSenders,
		func() error { return server.ValidateOrigins(c.CORSOrigins) },
		func() error { return server.ValidateHosts(c.AllowedHosts) },
		func() error { return telemetry.ValidateAddress(c.MetricsAddr, c.ListenAddr) },
	} {
		if err := validate(); err != nil {
			return err
		}
	}
	switch {
	case c.MetricsTenants && c.MetricsAddr == "":
		return errors.New("METRICS_TENANTS belongs to METRICS_ADDR, which is not set")
	case c.DrainDelay < 0 || c.DrainTimeout < 0:
		return errors.New("DRAIN_DELAY and DRAIN_TIMEOUT must not be negative")
	case c.MaxBodyBytes < 1:
		return errors.New("MAX_BODY_BYTES is less than 1")
	case c.TTL <= 0 || c.Retention <= 0 || c.Wait <= 0 || c.Budget <= 0:
		return errors.New("the IDEMPOTENCY_ durations must be more than zero")
	case min(c.HeaderTimeout, c.BodyTimeout, c.IdleTimeout, c.RequestTimeout, c.AnswerTimeout) <= 0:
		return errors.New("HEADER_TIMEOUT, BODY_TIMEOUT, IDLE_TIMEOUT, REQUEST_TIMEOUT and ANSWER_TIMEOUT must be more than zero")
	case c.Wait > c.RequestTimeout:
		return fmt.Errorf("IDEMPOTENCY_WAIT is %s and REQUEST_TIMEOUT %s: a call would be given up before its wait is over", short(c.Wait), short(c.RequestTimeout))
	case min(c.LimitValues, c.LimitTokens, c.LimitDepth, c.LimitAliases, c.LimitDirectives, c.LimitRootFields, c.LimitKeyedMutations, c.LimitComplexity) < 1:
		return errors.New("the LIMIT_ numbers must be at least 1")
	case c.LimitAnswerBytes < graph.MinAnswer:
		return fmt.Errorf("LIMIT_ANSWER_BYTES is less than %d: the largest project could never be read", graph.MinAnswer)
	}
	if err := cmp.Or(c.validateShares(c.MaxBodyBytes, c.LimitAnswerBytes), c.validateQuotas()); err != nil {
		return err
	}
	return c.idempotency(nil, nil).Validate()
}

func (c *serveCommand) identity(fetched func(error)) identity.Config {
	return identity.Config{Issuer: c.AuthIssuer, Audience: c.AuthAudience, TenantClaim: c.AuthTenant, Fetched: fetched}
}

func (c *serveCommand) idempotency(observer func(idempotency.Event), tracer idempotency.Tracer) idempotency.Config {
	return idempotency.Config{
		TTL:       c.TTL,
		Retention: c.Retention,
		Wait:      c.Wait,
		Budget:    c.Budget,
		GroupBy:   groupBy[c.GroupBy],
		Observer:  observer,
		Tracer:    tracer,
	}
}

var groupBy = map[string]idempotency.GroupBy{"all": idempotency.GroupByAll, "scope": idempotency.GroupByScope}

// parse reads the flags and the environment, or explains and exits.
func parse(arguments []string) *kong.Context {
	parser := kong.Must(&commandLine{},
		kong.Name("onceql"),
		kong.Description("A GraphQL API whose mutations take effect at most once per idempotency key, on PostgreSQL."),
		defaults(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Help(help),
		// Whatever can't start exits with 1, also what kong itself refuses.
		kong.Exit(func(code int) { os.Exit(min(code, 1)) }),
	)
	command, err := parser.Parse(arguments)
	parser.FatalIfErrorf(err)
	return command
}

// defaults are those that the parts have of their own, as the flags' texts name
// them.
func defaults() kong.Vars {
	limits := graph.DefaultLimits()
	return kong.Vars{
		"version":  version(),
		"data_dir": embeddedpg.DefaultDataDir(),

		"ttl":       short(idempotency.DefaultTTL),
		"retention": short(idempotency.DefaultRetention),
		"wait":      short(idempotency.DefaultWait),
		"budget":    short(idempotency.DefaultBudget),

		"max_body":              strconv.Itoa(transport.DefaultMaxBody),
		"limit_values":          strconv.Itoa(transport.DefaultMaxValues),
		"answer_memory":         strconv.Itoa(graph.DefaultAnswerMemory),
		"limit_answer":          strconv.Itoa(transport.DefaultMaxAnswer),
		"body_memory":           strconv.Itoa(graph.DefaultBodyMemory),
		"tenant_requests":       strconv.Itoa(graph.DefaultTenantRequests),
		"document_cache":        strconv.Itoa(graph.DefaultDocumentCacheBytes),
		"limit_tokens":          strconv.Itoa(limits.Tokens),
		"limit_depth":           strconv.Itoa(limits.Depth),
		"limit_aliases":         strconv.Itoa(limits.Aliases),
		"limit_directives":      strconv.Itoa(limits.Directives),
		"limit_root_fields":     strconv.Itoa(limits.RootFields),
		"limit_keyed_mutations": strconv.Itoa(limits.KeyedMutations),
		"limit_complexity":      strconv.Itoa(limits.Complexity),
	}
}

// short is a duration as people write it: 24h and not 24h0m0s.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// help explains, where no command is named, the flags of the default one too:
// they are the server's configuration.
func help(options kong.HelpOptions, command *kong.Context) error {
	err := kong.DefaultHelpPrinter(options, command)
	if err != nil || command.Selected() != nil {
		return err
	}
	serve, err := kong.Trace(command.Kong, []string{"serve"})
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintln(command.Stdout)
	return kong.DefaultHelpPrinter(options, serve)
}
