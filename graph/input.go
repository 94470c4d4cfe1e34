package graph

import (
	"context"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/lexer"

	"github.com/onceql/onceql/idempotency/gqlidem"
)

// variableTypes refuses variables that gqlparser lets pass and that the same
// literals in a document would be refused for: numbers as String, fractions as
// ID, strings as Int or Float, and __typename in an input. Then it refuses null where
// the schema does not allow it.
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
	return gqlidem.NullFault(v.schema, operation)
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

// loneSurrogates refuses documents in which a string escapes a lone surrogate:
// GraphQL's grammar forbids it, and gqlparser reads every lone surrogate as U+FFFD,
// so that different payloads would become the same.
// https://spec.graphql.org/September2025/#sec-String-Value.Semantics
type loneSurrogates struct{}

// ExtensionName implements graphql.HandlerExtension.
func (loneSurrogates) ExtensionName() string { return "LoneSurrogates" }

// Validate implements graphql.HandlerExtension.
func (loneSurrogates) Validate(graphql.ExecutableSchema) error { return nil }

// MutateOperationParameters implements graphql.OperationParameterMutator.
func (loneSurrogates) MutateOperationParameters(_ context.Context, params *graphql.RawParams) *gqlerror.Error {
	if !strings.Contains(params.Query, `\u`) {
		return nil
	}
	source := &ast.Source{Input: params.Query}
	tokens, text := lexer.New(source), []rune(params.Query)
	for {
		token, err := tokens.ReadToken()
		if err != nil || token.Kind == lexer.EOF {
			return nil //nolint:nilerr // The parser says what is wrong.
		}
		if token.Kind == lexer.String && hasLoneSurrogate(string(text[token.Pos.Start:token.Pos.End])) {
			refused := gqlerror.ErrorPosf(&token.Pos, "a string escapes a lone surrogate")
			refused.Extensions = map[string]any{"code": CodeParseFailed}
			return refused
		}
	}
}

// hasLoneSurrogate says whether a string, in the quotes and with the escapes of a
// document, has a surrogate that is not one of a pair.
func hasLoneSurrogate(raw string) bool {
	var leading rune // A surrogate that another one has to follow.
	for len(raw) > 0 {
		var unit rune
		switch {
		case raw[0] != '\\':
			raw = raw[1:]
		case raw[1] == 'u' && raw[2] != '{':
			parsed, _ := strconv.ParseUint(raw[2:6], 16, 16)
			unit, raw = rune(parsed), raw[6:]
		default:
			raw = raw[2:]
		}
		trailing := unit >= 0xDC00 && unit <= 0xDFFF
		if trailing != (leading != 0) {
			return true
		}
		leading = 0
		if utf16.IsSurrogate(unit) && !trailing {
			leading = unit
		}
	}
	return false
}
