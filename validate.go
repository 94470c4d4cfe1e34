package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/onceql/onceql/db"
)

// noDataDir is a DATA_DIR with which no embedded PostgreSQL runs. A deployment that loses its
// DATABASE_URL must not serve from an empty database.
const noDataDir = "none"

// Validate is called by kong once the flags are read.
func (f databaseFlags) Validate() error {
	if err := db.ValidateURL("DATABASE_URL", f.DatabaseURL); err != nil {
		return err
	}
	if err := db.ValidateURL("MIGRATION_DATABASE_URL", f.MigrationDatabaseURL); err != nil {
		return err
	}
	if err := db.ValidateURL("OPERATOR_DATABASE_URL", f.OperatorDatabaseURL); err != nil {
		return err
	}
	switch {
	case f.DatabaseURL == "" && f.MigrationDatabaseURL != "":
		return errors.New("MIGRATION_DATABASE_URL is set and DATABASE_URL is not, with which the server works")
	case f.DatabaseURL == "" && f.DataDir == noDataDir:
		return errors.New("DATABASE_URL is not set, and DATA_DIR is none: there is no embedded PostgreSQL here")
	}
	return nil
}

// validateSenders refuses what can't be meant for who may call, and whom that makes them.
func (c *serveCommand) validateSenders() error {
	host, port, err := net.SplitHostPort(c.ListenAddr)
	if err != nil {
		return fmt.Errorf("LISTEN_ADDR: %w", err)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("LISTEN_ADDR: %q is not the number of a port", port)
	}
	switch {
	case (c.AuthIssuer == "") != (c.AuthAudience == ""):
		return errors.New("AUTH_ISSUER and AUTH_AUDIENCE belong together: who makes the tokens, and for whom")
	case c.AuthIssuer == "" && !c.AllowAnonymous && !loopback(host):
		return fmt.Errorf("LISTEN_ADDR %s can be reached from other machines, and nobody is authenticated: set AUTH_ISSUER and AUTH_AUDIENCE, listen on 127.0.0.1, or set ALLOW_ANONYMOUS=true to serve everyone as one tenant", c.ListenAddr)
	case c.AuthIssuer != "" && strings.TrimSpace(c.AuthAudience) == "":
		return errors.New("AUTH_AUDIENCE is empty: it names this server in the tokens")
	case strings.TrimSpace(c.AuthTenant) == "":
		return errors.New("AUTH_TENANT_CLAIM is empty: it names the claim with the tenant")
	case c.AuthIssuer == "":
		return nil
	case !issuerURL(c.AuthIssuer):
		return errors.New("AUTH_ISSUER is not the URL of an issuer, such as https://issuer.example.com: https, or http on the loopback interface, without user and query")
	case c.DatabaseURL == "":
		return errors.New("AUTH_ISSUER is set and DATABASE_URL is not: the embedded PostgreSQL is for development, and would be empty")
	}
	return nil
}

// issuerURL says whether the text may be an issuer's identifier,
// https://openid.net/specs/openid-connect-discovery-1_0.html#IssuerDiscovery. Keys that
// come over the network without TLS are anybody's.
func issuerURL(text string) bool {
	parsed, err := url.Parse(text)
	if err != nil || parsed.Hostname() == "" || parsed.User != nil || strings.ContainsAny(text, "?#") {
		return false
	}
	return parsed.Scheme == "https" || parsed.Scheme == "http" && loopback(parsed.Hostname())
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
