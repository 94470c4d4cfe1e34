package graph

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/idempotency/gqlidem"
)

// A KeyedField is a mutation of a request: the call that it makes.
type KeyedField struct {
	// Name is what the field is called in the response: its alias, or its own name.
	Name string
	Call idempotency.Call
	// Canonical is the form whose hash is the call's fingerprint.
	Canonical []byte
}

// ErrRefused reports a request that the server would refuse before any of its fields.
var ErrRefused = errors.New("the server would refuse the request")

// KeyedFields returns the calls that a request's body makes for the tenant, in order. They
// go the server's own way up to the effects: what it refuses for its form or its limits is
// ErrRefused, with what the client would be told. Nothing is executed or read.
func KeyedFields(ctx context.Context, config Config, tenant string, body []byte) ([]KeyedField, error) {
	once := gqlidem.New(nil, func(context.Context) (string, error) { return tenant, nil }, gqlidem.Strict())
	config.Tenant, config.May, config.Refused = nil, nil, nil
	server := newServer(nil, once, config)
	var fields []KeyedField
	query := false
	server.AroundOperations(func(ctx context.Context, next graphql.OperationHandler) graphql.ResponseHandler {
		if graphql.GetOperationContext(ctx).Operation.Operation == ast.Mutation {
			return next(ctx)
		}
		query = true
		return graphql.OneShot(&graphql.Response{Data: []byte("null")})
	})
	server.AroundFields(func(ctx context.Context, _ graphql.Resolver) (any, error) {
		call, form, err := once.Describe(ctx)
		if err == nil {
			fields = append(fields, KeyedField{graphql.GetFieldContext(ctx).Field.Alias, call, form})
		}
		return nil, err
	})
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "/graphql", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	answer := recorder{header: http.Header{}}
	server.ServeHTTP(&answer, request)
	if err := answer.err(); err != nil {
		return nil, err
	}
	if query {
		return nil, errors.New("the request is a query, which has no key")
	}
	return fields, nil
}

// A recorder keeps an answer.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header            { return r.header }
func (r *recorder) WriteHeader(status int)         { r.status = status }
func (r *recorder) Write(body []byte) (int, error) { return r.body.Write(body) }

// err is what the answer says of errors.
func (r *recorder) err() error {
	var answer struct {
		Errors []struct {
			Message    string
			Extensions struct{ Code string }
		}
	}
	if err := json.Unmarshal(r.body.Bytes(), &answer); err != nil {
		return fmt.Errorf("%w: HTTP %d: %s", ErrRefused, r.status, strings.TrimSpace(r.body.String()))
	}
	var told []string
	for _, e := range answer.Errors {
		told = append(told, fmt.Sprintf("%s: %s", e.Extensions.Code, e.Message))
	}
	if told == nil {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrRefused, strings.Join(told, "; "))
}
