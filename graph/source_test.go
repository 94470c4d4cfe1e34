package graph_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql"

	"github.com/onceql/onceql/graph"
)

func TestSource_LoneSurrogatesAreRefused(t *testing.T) {
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
		`{f(a:["""a""""\uD83D"])}`:      true,
		`{f(a:["""a""""""\uD83D"""])}`:  false,
		"# \\uD83D\n{f}":                false,
		`{f(a:"\uD8")}`:                 false, // The parser's to refuse.
	} {
		err := graph.ReadSource(t.Context(), &graphql.RawParams{Query: document})
		if (err != nil) != refused {
			t.Errorf("%s: error %v, want refused: %t", document, err, refused)
		}
	}
}

// What stands behind a comment keeps its line and column.
func TestSource_CommentsBecomeSpaces(t *testing.T) {
	t.Parallel()
	for document, want := range map[string]string{
		"{a # é\U0001F600\n b}":               "{a     \n b}",
		"{a}#":                                "{a} ",
		"# \"\"\"\r\n{a(b: \"#\") #\r}":       "     \r\n{a(b: \"#\")  \r}",
		"{a(b: \"\"\"\n# c\n\"\"\")}#\ufeffd": "{a(b: \"\"\"\n# c\n\"\"\")}   ",
		"{a(b: [\"\"\"c\"\"\"\"#\"]) #\"\n}":  "{a(b: [\"\"\"c\"\"\" \"#\"])   \n}",
		"{a} # b \x00":                        "{a}     \x00", // The parser's to refuse.
		"{a(b: \"\n#)}":                       "{a(b: \"\n#)}",
	} {
		params := graphql.RawParams{Query: document}
		if err := graph.ReadSource(t.Context(), &params); err != nil || params.Query != want {
			t.Errorf("%q becomes %q, %v, want %q", document, params.Query, err, want)
		}
	}
}

func TestHandler_RefusesLongNames(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	long := strings.Repeat("n", 256)
	for _, document := range []string{
		"{ " + long + " }", "{ " + long + ": __typename }", "query " + long + " { __typename }", "query($" + long + ": Int) { __typename }",
		"{ projects(" + long + ": 1) { nodes { id } } }", "{ __typename @" + long + " }", "fragment " + long + " on Query { __typename }",
	} {
		got := a.post(t.Context(), t, document, nil)
		refused(t, got, "LIMIT_EXCEEDED")
		if got.Errors[0].Extensions["limit"] != "name" || len(got.Errors[0].Locations) != 1 || strings.Contains(got.text, long) {
			t.Errorf("%s", got.text)
		}
	}
	for at := range 300 { // Wherever it stands.
		params := graphql.RawParams{Query: strings.Repeat(" ", at) + long}
		if err := graph.ReadSource(t.Context(), &params); err == nil {
			t.Errorf("a long name at %d is taken", at)
		}
		params.Query = strings.Repeat(" ", at) + long[1:] + strings.Repeat(" "+long[1:], 3)
		if err := graph.ReadSource(t.Context(), &params); err != nil {
			t.Errorf("a name at %d is refused: %v", at, err)
		}
	}
	for _, document := range []string{
		"{ " + long[1:] + ": __typename }", `{ project(id: "` + long + `") { id } }`, "{ __typename } # " + long, `{ project(id: """` + long + `""") { id } }`,
	} {
		if got := a.post(t.Context(), t, document, nil); got.status != http.StatusOK {
			t.Errorf("%s: %s", document, got.text)
		}
	}
}
