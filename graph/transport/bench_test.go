package transport_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	stock "github.com/99designs/gqlgen/graphql/handler/transport"

	"github.com/99designs/gqlgen/graphql"

	"github.com/onceql/onceql/graph/transport"
)

const createProjectBody = `{"operationName":"CreateProject","query":"mutation CreateProject($input: CreateProjectInput!, $key: String!) ` +
	`{ createProject(input: $input, idempotencyKey: $key) { project { id name description } } }","variables":{"input":{"name":"Apollo",` +
	`"description":"To the moon and back, before the decade is out."},"key":"6f1c7a52-9d0e-4a0c-8a57-3b2a1f6c8d90"}}`

// BenchmarkDo is a createProject whose resolver does nothing, through this
// transport and through gqlgen's own.
func BenchmarkDo(b *testing.B) {
	for name, of := range map[string]graphql.Transport{"onceql": transport.Transport{}, "gqlgen": stock.POST{}} {
		b.Run(name, func(b *testing.B) {
			s := newServer(of)
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				s.ServeHTTP(w, post(createProjectBody, "Accept", graphqlResponse))
				if w.Code != http.StatusOK {
					b.Fatalf("%d: %s", w.Code, w.Body)
				}
			}
		})
	}
}
