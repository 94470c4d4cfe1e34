package gqlidem_test

import (
	"testing"

	"github.com/onceql/onceql/idempotency/gqlidem"
)

func BenchmarkCanonical(b *testing.B) {
	c := parsed(b, "projects", `mutation($input: CreateProjectInput!, $key: String!) {
		createProject(input: $input, idempotencyKey: $key) { project { id } }
	}`, `{"input": {"name": "Apollo", "description": "To the moon and back, \"once\""}, "key": "k"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := gqlidem.Canonical(c.schema, c.field, c.variables, gqlidem.KeyArgument, 1); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFingerprint(b *testing.B) {
	c := parsed(b, "projects", `mutation {
		createProject(input: {name: "Apollo", description: "To the moon"}, idempotencyKey: "k") { project { id } }
	}`, `{}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := gqlidem.Fingerprint(c.schema, c.field, c.variables, gqlidem.KeyArgument, 1); err != nil {
			b.Fatal(err)
		}
	}
}
