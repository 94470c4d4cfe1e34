package graph_test

import (
	"testing"

	"github.com/99designs/gqlgen/graphql"

	"github.com/onceql/onceql/graph"
)

func TestSurrogates_RefusesHalvesAlone(t *testing.T) {
	t.Parallel()
	for document, refused := range map[string]bool{
		`{f(a:"\uD83D")}`:               true,
		`{f(a:"\uDE00")}`:               true,
		`{f(a:"\ud83d x \ude00")}`:      true,
		`{f(a:"\uD83D\uD83D\uDE00")}`:   true,
		`{f(a:"\uD83D\n")}`:             true,
		`{f(b:"é",a:"ü\uD83D")}`:        true,
		`{f(a:"", b:"\\\uDE00\uD83D")}`: true,
		`{f(a:"\uD83D\uDE00")}`:         false,
		`{f(a:"\u{1F600}")}`:            false,
		`{f(a:"\u00e9\\uD83D")}`:        false,
		`{f(a:"""\uD83D""")}`:           false,
		"# \\uD83D\n{f}":                false,
		`{f(a:"\uD8")}`:                 false, // The parser's to refuse.
	} {
		err := graph.Surrogates{}.MutateOperationParameters(t.Context(), &graphql.RawParams{Query: document})
		if (err != nil) != refused {
			t.Errorf("%s: error %v, want refused: %t", document, err, refused)
		}
	}
}
