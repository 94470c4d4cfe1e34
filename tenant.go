package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/onceql/onceql/internal/operator"
	"github.com/onceql/onceql/internal/tenants"
)

// tenantCommand is what operators ask of tenants, and do to what is stored for them.
type tenantCommand struct {
	List   tenantList   `cmd:"" help:"List the tenants for whom something is stored, and how much."`
	Show   tenantShow   `cmd:"" help:"Show what is stored for a tenant."`
	Export tenantExport `cmd:"" help:"Write all that is stored for a tenant, as JSON Lines."`
	Remove tenantRemove `cmd:"" help:"Remove all that is stored for a tenant. Its keys execute again."`
}

// tenantFlags are those of commands that count what is stored.
type tenantFlags struct {
	operatorFlags
	Timeout time.Duration `default:"1m" help:"How long a statement that counts may take (${default})."`
}

// serversFlags say which servers are asked for the calls that they counted.
type serversFlags struct {
	Server []string `placeholder:"URL" sep:"none" help:"A server's METRICS_ADDR, such as http://127.0.0.1:9090, to tell the calls that it counted lately too: give it for each server. They need METRICS_TENANTS."`
}

// Validate is called by kong once the flags are read.
func (f tenantFlags) Validate() error {
	if f.Timeout <= 0 {
		return errors.New("--timeout must be more than zero")
	}
	return f.databaseFlags.Validate()
}

type tenantList struct {
	tenantFlags
	serversFlags
	Sort  string `default:"keys" enum:"keys,bytes,projects,newest,name" help:"Which tenants come first: those with the most keys, bytes or projects, with the newest call, or by name (${default})."`
	Limit int    `default:"50" help:"How many tenants (${default})."`
	Exact bool   `help:"Read every row. Otherwise of a table of more than 256 MiB a sample of that size is read, and large numbers are estimates."`
}

// Run lists the tenants.
func (c *tenantList) Run(ctx context.Context) error {
	return c.session(ctx, func(s *operator.Session) error {
		return s.ListTenants(ctx, operator.ListTenantsRequest{
			Order: tenants.Order(c.Sort), Limit: c.Limit, Exact: c.Exact, Timeout: c.Timeout, Servers: c.Server,
		}, c.output())
	})
}

type tenantShow struct {
	tenantFlags
	serversFlags
	Tenant      string `arg:"" help:"The tenant. \"\" is that of a server without AUTH_ISSUER. One that begins with a hyphen stands behind --."`
	TenantKeys  int64  `env:"TENANT_KEYS" default:"0" help:"The servers' quota of keys, to show it too (${default})."`
	TenantBytes int64  `env:"TENANT_BYTES" default:"0" help:"The servers' quota of bytes, to show it too (${default})."`
}

// Run shows the tenant.
func (c *tenantShow) Run(ctx context.Context) error {
	return c.session(ctx, func(s *operator.Session) error {
		return s.ShowTenant(ctx, operator.ShowTenantRequest{
			Tenant: c.Tenant, Timeout: c.Timeout, Servers: c.Server, TenantKeys: c.TenantKeys, TenantBytes: c.TenantBytes,
		}, c.output())
	})
}

type tenantExport struct {
	databaseFlags
	Tenant string `arg:"" help:"The tenant. \"\" is that of a server without AUTH_ISSUER. One that begins with a hyphen stands behind --."`
	Output string `short:"o" placeholder:"FILE" help:"A new file, which its owner alone may read; - is standard output, which it is too when that is no terminal and no file is given."`
}

// Run exports what the tenant has.
func (c *tenantExport) Run(ctx context.Context) error {
	request := operator.ExportRequest{Tenant: c.Tenant, File: c.Output}
	switch {
	case c.Output == "-":
		request.File = ""
	case c.Output == "" && isTerminal(os.Stdout):
		return errors.New("an export is not for a terminal: give --output with a new file, or - for it all the same")
	}
	flags := operatorFlags{databaseFlags: c.databaseFlags}
	return flags.session(ctx, func(s *operator.Session) error { return s.ExportTenant(ctx, request, flags.output()) })
}

type tenantRemove struct {
	tenantFlags
	Tenant      string `arg:"" help:"The tenant. \"\" is that of a server without AUTH_ISSUER. One that begins with a hyphen stands behind --."`
	Reason      string `placeholder:"TEXT" help:"Why; it is recorded with who did it. Needed without --dry-run."`
	DryRun      bool   `name:"dry-run" help:"Only say what would be removed."`
	WhileActive bool   `name:"while-active" help:"Also when the tenant called within 5 minutes. What it stores meanwhile stays."`
	Yes         bool   `short:"y" help:"Do not ask."`
}

// Run removes what the tenant has.
func (c *tenantRemove) Run(ctx context.Context) error {
	request := operator.RemoveRequest{Tenant: c.Tenant, Reason: c.Reason, DryRun: c.DryRun, WhileActive: c.WhileActive, Timeout: c.Timeout}
	if !c.Yes && !c.DryRun {
		if !isTerminal(os.Stdin) {
			return errors.New("nobody can be asked: give --yes")
		}
		request.Confirm = confirm
	}
	return c.session(ctx, func(s *operator.Session) error { return s.RemoveTenant(ctx, request, c.output()) })
}
