// Package model holds the Go types of the GraphQL schema.
package model

import (
	"errors"
	"io"
	"strings"
	"time"

	"github.com/99designs/gqlgen/graphql"
)

// dateTime is the one form of the scalar's specification: RFC 3339 with exactly
// three digits of a second.
// https://scalars.graphql.org/andimarek/date-time.html
const dateTime = "2006-01-02T15:04:05.000Z07:00"

// MarshalDateTime writes an instant in UTC. What is finer than a millisecond is
// cut off.
func MarshalDateTime(instant time.Time) graphql.Marshaler {
	return graphql.WriterFunc(func(w io.Writer) {
		_, _ = io.WriteString(w, `"`+instant.UTC().Format(dateTime)+`"`)
	})
}

// UnmarshalDateTime reads an instant as the specification asks: with any offset
// but -00:00, T and Z in either case.
func UnmarshalDateTime(value any) (time.Time, error) {
	text, ok := value.(string)
	if !ok || strings.HasSuffix(text, "-00:00") || strings.Contains(text, ",") { // Package time takes a comma for the point.
		return time.Time{}, errDateTime
	}
	instant, err := time.Parse(dateTime, strings.ToUpper(text))
	if err != nil {
		return time.Time{}, errDateTime
	}
	return instant, nil
}

var errDateTime = errors.New("a DateTime is a string such as 2026-01-31T12:00:00.000Z")
