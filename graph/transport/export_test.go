package transport

import (
	"bytes"

	"github.com/99designs/gqlgen/graphql"
)

// Decode reads a body; its error is what the client is told.
func Decode(body []byte) (*graphql.RawParams, error) {
	params, refusal := decodeBody(bytes.NewBuffer(body), DefaultMaxValues)
	if refusal != nil {
		return nil, refusal.err
	}
	return params, nil
}

// DecodeQuery reads a query string.
func DecodeQuery(raw string) (*graphql.RawParams, error) {
	params, refusal := readQuery(raw, DefaultMaxValues)
	if refusal != nil {
		return nil, refusal.err
	}
	return params, nil
}
