package gqlidem

import (
	"errors"
	"fmt"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
)

// Validate implements graphql.HandlerExtension. It refuses a schema in which a
// mutation is not idempotent by contract, see Check, so that the server does
// not start.
func (o *Once) Validate(schema graphql.ExecutableSchema) error {
	if err := o.Check(schema.Schema()); err != nil {
		return err
	}
	o.schema = schema.Schema()
	return nil
}

// Check reports every mutation that lacks the directive @idempotent or the
// argument `idempotencyKey: String!`, and every payload type that reaches a
// union or an interface and has no codec.
func (o *Once) Check(schema *ast.Schema) error {
	if schema.Mutation == nil {
		return nil
	}
	var faults []error
	for _, field := range schema.Mutation.Fields {
		if field.Directives.ForName(Directive) == nil {
			faults = append(faults, fmt.Errorf("the mutation %s is not marked @%s", field.Name, Directive))
		}
		key := field.Arguments.ForName(KeyArgument)
		if key == nil || key.Type.String() != "String!" || key.DefaultValue != nil {
			faults = append(faults, fmt.Errorf("the mutation %s lacks the argument `%s: String!` without a default", field.Name, KeyArgument))
		}
		payload := field.Type.Name()
		if abstract := reachesAbstract(schema, payload, map[string]bool{}); abstract != "" && o.codecs[payload] == nil {
			faults = append(faults, fmt.Errorf("the payload %s of the mutation %s reaches the abstract type %s and has no codec",
				payload, field.Name, abstract))
		}
	}
	return errors.Join(faults...)
}

// reachesAbstract returns the first union or interface that values of the type
// may hold, or nothing. seen has the types that were looked at.
func reachesAbstract(schema *ast.Schema, name string, seen map[string]bool) string {
	definition := schema.Types[name]
	if definition == nil || seen[name] {
		return ""
	}
	if definition.IsAbstractType() {
		return name
	}
	seen[name] = true
	for _, field := range definition.Fields {
		if abstract := reachesAbstract(schema, field.Type.Name(), seen); abstract != "" {
			return abstract
		}
	}
	return ""
}
