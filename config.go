package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/alecthomas/kong"

	"github.com/onceql/onceql/db"
	"github.com/onceql/onceql/idempotency"
)

// commandLine is what `onceql --help` explains. Every flag has an environment
// variable of the same meaning.
type commandLine struct {
	Serve   serveCommand     `cmd:"" default:"withargs" help:"Run the server (the default)."`
	Migrate migrateCommand   `cmd:"" help:"Bring the database to this build's schema, or show how far it is."`
	Version kong.VersionFlag `help:"Print the version and exit."`
}

// databaseFlags say which database is used.
type databaseFlags struct {
	DatabaseURL          string `name:"database-url" env:"DATABASE_URL" help:"PostgreSQL to use, as a URL or as keywords and values. None: an embedded PostgreSQL under the data directory."`
	MigrationDatabaseURL string `name:"migration-database-url" env:"MIGRATION_DATABASE_URL" help:"The same database for a role that may change its schema. None: the database URL."`
	DataDir              string `env:"DATA_DIR" default:"${data_dir}" help:"Where the embedded PostgreSQL keeps its data (${default})."`
}

// logFlags say what is logged, and how.
type logFlags struct {
	LogLevel  slog.Level `env:"LOG_LEVEL" default:"info" help:"Least level that is logged: debug, info, warn or error (${default})."`
	LogFormat string     `env:"LOG_FORMAT" default:"text" enum:"text,json" help:"Form of the log on standard error: text or json (${default})."`
}

func (f logFlags) logger() *slog.Logger {
	options := &slog.HandlerOptions{Level: f.LogLevel}
	if f.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}

// serveCommand is the configuration of the server.
type serveCommand struct {
	databaseFlags
	logFlags
	ListenAddr     string        `env:"LISTEN_ADDR" default:"127.0.0.1:8080" help:"Address to listen on; port 0 takes any free one (${default})."`
	AllowAnonymous bool          `env:"ALLOW_ANONYMOUS" help:"Serve without authentication beyond the loopback interface."`
	AuthIssuer     string        `env:"AUTH_ISSUER" hidden:""`
	TTL            time.Duration `name:"idempotency-ttl" env:"IDEMPOTENCY_TTL" default:"24h" help:"How long a result is replayed (${default})."`
	Retention      time.Duration `name:"idempotency-retention" env:"IDEMPOTENCY_RETENTION" default:"72h" help:"How long a key is kept, and refused once its result is no longer replayed; at least the TTL (${default})."`
	Wait           time.Duration `name:"idempotency-wait" env:"IDEMPOTENCY_WAIT" default:"5s" help:"How long a call waits for its outcome before it is told to come again (${default})."`
	Budget         time.Duration `name:"idempotency-budget" env:"IDEMPOTENCY_BUDGET" default:"10s" help:"How long one execution may take (${default})."`
	GroupBy        string        `name:"idempotency-group-by" env:"IDEMPOTENCY_GROUP_BY" default:"all" enum:"all,scope" help:"Whose calls may share a transaction: those of all tenants, or of one (scope), for a distributed engine (${default})."`
	DrainTimeout   time.Duration `env:"DRAIN_TIMEOUT" default:"15s" help:"How long running requests may take to end after SIGTERM (${default})."`
	MaxBodyBytes   int64         `env:"MAX_BODY_BYTES" default:"1048576" help:"Size of the largest request body (${default})."`
}

// Validate is called by kong once the flags are read.
func (c *serveCommand) Validate() error {
	if c.AuthIssuer != "" {
		return errors.New("AUTH_ISSUER is set, and this build can't authenticate: refusing to serve everyone as one anonymous tenant")
	}
	host, _, err := net.SplitHostPort(c.ListenAddr)
	if err != nil {
		return fmt.Errorf("LISTEN_ADDR: %w", err)
	}
	if idempotency.Floor && !loopback(host) {
		return errors.New("this build stores nothing and replays nothing: it listens on the loopback interface alone")
	}
	if !c.AllowAnonymous && !loopback(host) {
		return fmt.Errorf("LISTEN_ADDR %s can be reached from other machines, and nobody is authenticated: listen on 127.0.0.1, or set ALLOW_ANONYMOUS=true to serve everyone as one tenant", c.ListenAddr)
	}
	switch {
	case c.DrainTimeout < 0:
		return errors.New("DRAIN_TIMEOUT is negative")
	case c.MaxBodyBytes < 1:
		return errors.New("MAX_BODY_BYTES is less than 1")
	case c.TTL <= 0 || c.Retention <= 0 || c.Wait <= 0 || c.Budget <= 0:
		return errors.New("the IDEMPOTENCY_ durations must be more than zero")
	}
	return c.idempotency(nil).Validate()
}

func (c *serveCommand) idempotency(observer func(idempotency.Event)) idempotency.Config {
	return idempotency.Config{
		TTL:       c.TTL,
		Retention: c.Retention,
		Wait:      c.Wait,
		Budget:    c.Budget,
		Workers:   workers,
		Groups:    groups,
		GroupBy:   groupBy[c.GroupBy],
		Observer:  observer,
	}
}

var groupBy = map[string]idempotency.GroupBy{"all": idempotency.GroupByAll, "scope": idempotency.GroupByScope}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// parse reads the flags and the environment, or explains and exits.
func parse(arguments []string) *kong.Context {
	parser := kong.Must(&commandLine{},
		kong.Name("onceql"),
		kong.Description("A GraphQL API whose mutations take effect at most once per idempotency key, on PostgreSQL."),
		kong.Vars{"version": version(), "data_dir": db.DefaultDataDir()},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Help(help),
	)
	command, err := parser.Parse(arguments)
	parser.FatalIfErrorf(err)
	return command
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
