// Package model holds the Go types of the GraphQL schema.
package model

import (
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/99designs/gqlgen/graphql"
)

// MarshalDateTime writes an instant as RFC 3339 in UTC, as the DateTime
// scalar's specification asks.
func MarshalDateTime(instant time.Time) graphql.Marshaler {
	return graphql.WriterFunc(func(w io.Writer) {
		_, _ = io.WriteString(w, strconv.Quote(instant.UTC().Format(time.RFC3339Nano)))
	})
}

// UnmarshalDateTime reads an instant from an RFC 3339 string.
func UnmarshalDateTime(value any) (time.Time, error) {
	text, ok := value.(string)
	if !ok {
		return time.Time{}, errors.New("a DateTime is an RFC 3339 string")
	}
	instant, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, errors.New("a DateTime is an RFC 3339 string such as 2026-01-31T12:00:00Z")
	}
	return instant, nil
}
