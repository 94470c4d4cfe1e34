package embeddedpg

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Role makes a role that may log in and has no rights of its own, with a new
// password, and returns the address of the database for it.
func (s *Server) Role(ctx context.Context, name string) (string, error) {
	return withRole(ctx, s.url, name, rand.Text())
}

// StandingRole is Role for programs that run beside one another: its password is the same
// each time, and follows from the superuser's, whose address of the database is given.
func StandingRole(ctx context.Context, address, name string) (string, error) {
	parsed, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	secret, _ := parsed.User.Password()
	hash := hmac.New(sha256.New, []byte(secret))
	_, _ = hash.Write([]byte(name))
	password := hex.EncodeToString(hash.Sum(nil))
	parsed.User = url.UserPassword(name, password)
	conn, err := pgx.Connect(ctx, parsed.String())
	if err == nil {
		return parsed.String(), conn.Close(ctx)
	}
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != invalidPassword {
		return "", fmt.Errorf("connecting as the role %s: %w", name, err)
	}
	return withRole(ctx, address, name, password)
}

// invalidPassword is what Postgres says of a role that is not there, too.
const invalidPassword = "28P01"

func withRole(ctx context.Context, address, name, password string) (_ string, err error) {
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(ctx) }()
	var exists bool
	if err := conn.QueryRow(ctx, `select exists (select from pg_roles where rolname = $1)`, name).Scan(&exists); err != nil {
		return "", err
	}
	verb := "create"
	if exists {
		verb = "alter"
	}
	if _, err := conn.Exec(ctx, verb+` role `+pgx.Identifier{name}.Sanitize()+` login password '`+password+`'`); err != nil {
		return "", fmt.Errorf("making the role %s: %w", name, err)
	}
	parsed, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	parsed.User = url.UserPassword(name, password)
	return parsed.String(), nil
}
