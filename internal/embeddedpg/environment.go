package embeddedpg

import (
	"os"
	"slices"
	"strings"
)

// What the programs of Postgres are told of the environment. It may hold secrets of this
// program, and what is there for Postgres's clients, PGPORT or PGOPTIONS, would mislead them.
var postgresVariables = []string{
	"PATH", "HOME", "TMPDIR", "TZ", "TZDIR", "LC_ALL",
	"LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", // For programs that are not where their packages put them.
}

// The supervisor also fetches Postgres, through a proxy perhaps, whose address may have a
// password. It is a Go program: the last ones are for its tests.
var supervisorVariables = append(slices.Clip(postgresVariables),
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR",
	"GOCOVERDIR", "GORACE",
)

// environment returns those of the variables that are set.
func environment(variables []string) []string {
	return slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return !slices.Contains(variables, name)
	})
}
