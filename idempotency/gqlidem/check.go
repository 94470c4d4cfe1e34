package gqlidem

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
)

// Validate implements graphql.HandlerExtension, so that a server does not start
// which can't keep its promise. Besides what Check reports it refuses
//
//   - a payload whose Go type JSON would lose something of, or that holds an
//     interface whose types Union does not name. The type is what the resolver
//     returns in the code that gqlgen generated, and what a batch was made for;
//   - a batch for a field that is no marked mutation;
//   - the directive @idempotent as one that runs, when nothing implements it.
//
// A resolver that gives Do another type than it returns is found at its first
// call, before the effect runs.
func (o *Once) Validate(schema graphql.ExecutableSchema) error {
	o.unions.name(schema.Schema())
	faults := append([]error{o.Check(schema.Schema()), directiveFault(schema)}, o.unions.faults...)
	for _, payload := range o.payloadTypes(schema) {
		definition := schema.Schema().Mutation.Fields.ForName(payload.field)
		if _, err := o.codec(definition.Type.Name(), payload.typ); err != nil {
			faults = append(faults, fmt.Errorf("the payload of the mutation %s: %w", payload.field, err))
		}
	}
	for _, batch := range o.batches {
		if !marked(schema.Schema(), batch.field) {
			faults = append(faults, fmt.Errorf("the batch %s is for no mutation that is marked @%s", batch.field, Directive))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	o.schema = schema.Schema()
	return nil
}

// Check reports each mutation that is marked @idempotent and lacks the argument
// `idempotencyKey: String!`, and when the Once is Strict each one without the mark.
func (o *Once) Check(schema *ast.Schema) error {
	if schema.Mutation == nil {
		return nil
	}
	var faults []error
	for _, field := range schema.Mutation.Fields {
		if field.Directives.ForName(Directive) == nil {
			if o.strict {
				faults = append(faults, fmt.Errorf("the mutation %s is not marked @%s", field.Name, Directive))
			}
			continue
		}
		key := field.Arguments.ForName(KeyArgument)
		if key == nil || key.Type.String() != "String!" || key.DefaultValue != nil {
			faults = append(faults, fmt.Errorf("the mutation %s lacks the argument `%s: String!` without a default", field.Name, KeyArgument))
		}
	}
	return errors.Join(faults...)
}

func marked(schema *ast.Schema, mutation string) bool {
	if schema.Mutation == nil {
		return false
	}
	field := schema.Mutation.Fields.ForName(mutation)
	return field != nil && field.Directives.ForName(Directive) != nil
}

// directiveFault reports that gqlgen's code would call the directive and find
// nothing to call, which would fail each marked mutation.
func directiveFault(schema graphql.ExecutableSchema) error {
	directives := generatedField(schema, "Directives")
	if !directives.IsValid() || directives.Kind() != reflect.Struct {
		return nil
	}
	function := directives.FieldByNameFunc(func(name string) bool { return sameName(name, Directive) })
	if function.IsValid() && function.Kind() == reflect.Func && function.IsNil() {
		return fmt.Errorf("nothing implements the directive @%[1]s: it only marks mutations, so write in gqlgen.yml `directives: { %[1]s: { skip_runtime: true } }`, and generate again", Directive)
	}
	return nil
}
