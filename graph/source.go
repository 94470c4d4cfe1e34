package graph

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/lexer"

	"github.com/onceql/onceql/idempotency/gqlidem"
)

// longestName is how long a name in a document may be, in bytes. gqlparser quotes names in
// its errors, that of an operation in each error about its variables, and an answer
// repeats an alias for each item.
const longestName = 255

// sourceText judges the text of a document before it is parsed. It refuses
//
//   - a string that escapes a lone surrogate: GraphQL's grammar forbids it, and gqlparser
//     reads every lone surrogate as U+FFFD, so that different payloads would become the
//     same (https://spec.graphql.org/September2025/#sec-String-Value.Semantics)
//   - a name longer than longestName
//
// It writes spaces over comments, which gqlparser would count as tokens: so many that
// positions stay what they are.
type sourceText struct {
	// tokens are what the parser takes: behind them nothing is looked at.
	tokens int
}

// ExtensionName implements graphql.HandlerExtension.
func (sourceText) ExtensionName() string { return "SourceText" }

// Validate implements graphql.HandlerExtension.
func (sourceText) Validate(graphql.ExecutableSchema) error { return nil }

// MutateOperationParameters implements graphql.OperationParameterMutator.
func (s sourceText) MutateOperationParameters(_ context.Context, params *graphql.RawParams) *gqlerror.Error {
	params.Extensions = nil // Nobody reads them, and they may be large.
	// As the parser will read them: a block string ends where the specification says.
	params.Query = gqlidem.BlockStrings(params.Query)
	if !strings.Contains(params.Query, `\u`) && !strings.Contains(params.Query, "#") && !hasLongWord(params.Query) {
		return nil
	}
	tokens := lexer.New(&ast.Source{Input: params.Query})
	text := []rune(params.Query) // The lexer's positions count runes.
	commented := false
	for n := 0; n <= s.tokens; n++ {
		token, err := tokens.ReadToken()
		if err != nil || token.Kind == lexer.EOF {
			break // The parser says what is wrong.
		}
		switch {
		case token.Kind == lexer.Comment:
			n, commented = n-1, true
			for i := token.Pos.Start; i < token.Pos.End; i++ {
				text[i] = ' '
			}
		case token.Kind == lexer.Name && len(token.Value) > longestName:
			refused := limitExceeded("name", fmt.Sprintf("a name is longer than %d bytes", longestName))
			refused.Locations = []gqlerror.Location{{Line: token.Pos.Line, Column: token.Pos.Column}}
			return refused
		case token.Kind == lexer.String && hasLoneSurrogate(string(text[token.Pos.Start:token.Pos.End])):
			refused := gqlerror.ErrorPosf(&token.Pos, "a string escapes a lone surrogate")
			refused.Extensions = map[string]any{"code": CodeParseFailed}
			return refused
		}
	}
	if commented {
		params.Query = string(text)
	}
	return nil
}

// hasLongWord says whether more characters of names follow each other than a name may
// have, in a string perhaps. Such a row has one of every longestName+1 characters.
func hasLongWord(text string) bool {
	for at := longestName; at < len(text); at += longestName + 1 {
		if !inName(text[at]) {
			continue
		}
		start, end := at, at
		for start > 0 && inName(text[start-1]) {
			start--
		}
		for end < len(text) && inName(text[end]) && end-start <= longestName {
			end++
		}
		if end-start > longestName {
			return true
		}
	}
	return false
}

func inName(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
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
