package graph

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/onceql/onceql/idempotency/gqlidem"
)

// variableTypes refuses variables that gqlparser lets pass and that the same
// literals in a document would be refused for: numbers as String, fractions as
// ID, strings as Int or Float, and __typename in an input. Then it refuses what
// gqlidem.ValueFault finds, null where the schema does not allow it above all.
// https://spec.graphql.org/September2025/#sec-Scalars.Built-in-Scalars
type variableTypes struct{ schema *ast.Schema }

// ExtensionName implements graphql.HandlerExtension.
func (*variableTypes) ExtensionName() string { return "VariableTypes" }

// Validate implements graphql.HandlerExtension.
func (v *variableTypes) Validate(schema graphql.ExecutableSchema) error {
	v.schema = schema.Schema()
	return nil
}

// MutateOperationContext implements graphql.OperationContextMutator. It changes
// nothing: this is where gqlgen lets variables be checked.
func (v *variableTypes) MutateOperationContext(_ context.Context, operation *graphql.OperationContext) *gqlerror.Error {
	for _, definition := range operation.Operation.VariableDefinitions {
		value := operation.Variables[definition.Variable]
		if where, typ := v.mismatch("$"+definition.Variable, definition.Type, value); where != "" {
			if typ == "" {
				return badInput("%s: unknown field", where)
			}
			return badInput("%s: this value is not of type %s", where, typ)
		}
	}
	return gqlidem.ValueFault(v.schema, operation)
}

// mismatch returns the place of the first value that is not of its type, and the
// type's name, or nothing; a place that should not be there has no type. Values
// have passed gqlparser.
func (v *variableTypes) mismatch(where string, typ *ast.Type, value any) (place, typeName string) {
	if value == nil {
		return "", ""
	}
	if typ.Elem != nil {
		list := reflect.ValueOf(value)
		if list.Kind() != reflect.Slice { // One value stands for a list of one.
			return v.mismatch(where, typ.Elem, value)
		}
		for i := range list.Len() {
			if place, typeName = v.mismatch(where, typ.Elem, list.Index(i).Interface()); place != "" {
				return place, typeName
			}
		}
		return "", ""
	}
	definition := v.schema.Types[typ.NamedType]
	if object, ok := value.(map[string]any); ok && definition.Kind == ast.InputObject {
		// Clients that send back what they were answered have it in there, and
		// gqlparser lets it pass.
		if _, sent := object["__typename"]; sent {
			return where + ".__typename", ""
		}
		for _, field := range definition.Fields {
			if place, typeName = v.mismatch(where+"."+field.Name, field.Type, object[field.Name]); place != "" {
				return place, typeName
			}
		}
		return "", ""
	}
	number, isNumber := value.(json.Number)
	_, isString := value.(string)
	switch typ.NamedType {
	case "String":
		if !isString {
			return where, typ.NamedType
		}
	case "ID":
		if isNumber && strings.ContainsAny(string(number), ".eE") {
			return where, typ.NamedType
		}
	case "Int", "Float":
		if isString {
			return where, typ.NamedType
		}
	}
	return "", ""
}
