package db

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ValidateURL refuses a database URL, of the setting name, that can't be read. It
// says nothing of what is in it: any part of it may be a password's, one that holds
// an @ or a slash which should have been percent-encoded. An empty one is valid.
func ValidateURL(name, url string) error {
	if url == "" {
		return nil
	}
	_, rest, isURL := strings.Cut(url, "://")
	path, _, _ := strings.Cut(rest, "?")
	authority, path, _ := strings.Cut(path, "/")
	torn := isURL && (strings.Count(authority, "@") > 1 || !strings.Contains(authority, "@") && strings.Contains(path, "@"))
	if _, err := pgxpool.ParseConfig(url); err != nil || torn {
		return fmt.Errorf("%s can't be read: it has the form postgres://user:password@host:port/database, "+
			"with special characters percent-encoded, or that of keywords and values", name)
	}
	return nil
}

// UserOf is the role that a valid database URL logs in as.
func UserOf(url string) string {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return ""
	}
	return config.User
}
