package graph

import (
	"context"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/lexer"
)

// surrogates refuses documents in which a string escapes one half of a surrogate
// pair: GraphQL's grammar forbids it, and gqlparser reads every such half as
// U+FFFD, so that different payloads would become the same.
// https://spec.graphql.org/September2025/#sec-String-Value.Semantics
type surrogates struct{}

// ExtensionName implements graphql.HandlerExtension.
func (surrogates) ExtensionName() string { return "Surrogates" }

// Validate implements graphql.HandlerExtension.
func (surrogates) Validate(graphql.ExecutableSchema) error { return nil }

// MutateOperationParameters implements graphql.OperationParameterMutator.
func (surrogates) MutateOperationParameters(_ context.Context, params *graphql.RawParams) *gqlerror.Error {
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
		if token.Kind == lexer.String && halfPair(string(text[token.Pos.Start:token.Pos.End])) {
			refused := gqlerror.ErrorPosf(&token.Pos, "a string escapes one half of a surrogate pair")
			refused.Extensions = map[string]any{"code": CodeParseFailed}
			return refused
		}
	}
}

// halfPair says whether a string, in the quotes and with the escapes of a
// document, has a surrogate without its other half.
func halfPair(raw string) bool {
	var leading rune // The first half of a pair whose second one has to follow.
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
