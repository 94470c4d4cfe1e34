package gqlidem

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
)

// HeaderReplayed is the response header that says "true" when every keyed field
// of the response succeeded as a replay. A field that an error below it makes null did
// not.
const HeaderReplayed = "Idempotency-Replayed"

// dateTime is the form of the scalar DateTime.
// https://scalars.graphql.org/andimarek/date-time.html
const dateTime = "2006-01-02T15:04:05.000Z07:00"

// extensionName is where a response's extensions tell each keyed field's status.
const extensionName = "idempotency"

// A status is what the response says of one keyed field.
type status struct {
	Replayed              bool
	ExecutedAt, ExpiresAt time.Time
	RequestID             string
}

// statuses collects those of one response.
type statuses struct {
	mu sync.Mutex
	// keyed counts the keyed fields, replayed those that succeeded as replays.
	keyed, replayed int
	fields          map[string]any
}

type (
	statusesKey struct{}
	headerKey   struct{}
)

// InterceptRootField implements graphql.RootFieldInterceptor: it counts the keyed
// fields, those too whose arguments can't be read and that come to no resolver.
func (*Once) InterceptRootField(ctx context.Context, next graphql.RootResolver) graphql.Marshaler {
	field := graphql.GetRootFieldContext(ctx).Field
	if s, ok := ctx.Value(statusesKey{}).(*statuses); ok && field.Definition.Directives.ForName(Directive) != nil {
		s.mu.Lock()
		s.keyed++
		s.mu.Unlock()
	}
	return next(ctx)
}

// addStatus notes the status of the keyed field that is being resolved.
func addStatus(ctx context.Context, of status) {
	s, ok := ctx.Value(statusesKey{}).(*statuses)
	if !ok {
		return
	}
	field := map[string]any{
		"status":     "EXECUTED",
		"executedAt": of.ExecutedAt.UTC().Format(dateTime),
		"expiresAt":  of.ExpiresAt.UTC().Format(dateTime),
		"requestId":  nil,
	}
	if of.RequestID != "" {
		field["requestId"] = of.RequestID
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if of.Replayed {
		field["status"] = "REPLAYED"
		s.replayed++
	}
	if s.fields == nil {
		s.fields = map[string]any{}
	}
	s.fields[graphql.GetFieldContext(ctx).Field.Alias] = field
}

// ExtensionName implements graphql.HandlerExtension.
func (*Once) ExtensionName() string { return "OnceQL" }

// InterceptResponse implements graphql.ResponseInterceptor: it puts the statuses
// into the response's extensions, under the fields' response keys.
func (*Once) InterceptResponse(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
	s := &statuses{}
	response := next(context.WithValue(ctx, statusesKey{}, s))
	s.mu.Lock()
	defer s.mu.Unlock()
	if response == nil || len(s.fields) == 0 {
		return response
	}
	if response.Extensions == nil {
		response.Extensions = map[string]any{}
	}
	response.Extensions[extensionName] = s.fields
	header, ok := ctx.Value(headerKey{}).(http.Header)
	if ok && s.replayed == s.keyed && s.answered(response) {
		header.Set(HeaderReplayed, "true")
	}
	return response
}

// answered says whether the client gets the payload of every keyed field. Below the
// field an error may make it null.
func (s *statuses) answered(response *graphql.Response) bool {
	if len(response.Errors) == 0 {
		return true
	}
	var data map[string]json.RawMessage
	if json.Unmarshal(response.Data, &data) != nil || data == nil {
		return false
	}
	for _, failure := range response.Errors {
		if len(failure.Path) == 0 {
			continue
		}
		name, _ := failure.Path[0].(ast.PathName)
		if _, keyed := s.fields[string(name)]; keyed && string(data[string(name)]) == "null" {
			return false
		}
	}
	return true
}

// WithHeader wraps a GraphQL handler so that its responses carry HeaderReplayed.
// Any transport will do that writes its header after the operation.
func WithHeader(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), headerKey{}, w.Header())))
	})
}
