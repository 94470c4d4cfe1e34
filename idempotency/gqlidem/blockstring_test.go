package gqlidem_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/99designs/gqlgen/graphql/handler/extension"
	"github.com/99designs/gqlgen/graphql/handler/lru"
	"github.com/99designs/gqlgen/graphql/handler/transport"
	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
	"pgregory.net/rapid"

	"github.com/onceql/onceql/idempotency/gqlidem"
	"github.com/onceql/onceql/internal/pgtest"
)

// specified is BlockStringValue of the specification, word by word, of what is between
// the quotes. https://spec.graphql.org/September2025/#BlockStringValue()
func specified(raw string) string {
	raw = strings.ReplaceAll(raw, `\"""`, `"""`)
	raw = strings.ReplaceAll(strings.ReplaceAll(raw, "\r\n", "\n"), "\r", "\n")
	lines := strings.Split(raw, "\n")
	whiteSpace := func(line string) int { return len(line) - len(strings.TrimLeft(line, "\t ")) }
	commonIndent := -1
	for _, line := range lines[1:] {
		if n := whiteSpace(line); n < len(line) && (commonIndent < 0 || n < commonIndent) {
			commonIndent = n
		}
	}
	if commonIndent > 0 {
		for i, line := range lines[1:] {
			lines[i+1] = line[min(commonIndent, len(line)):]
		}
	}
	for len(lines) > 0 && whiteSpace(lines[0]) == len(lines[0]) {
		lines = lines[1:]
	}
	for len(lines) > 0 && whiteSpace(lines[len(lines)-1]) == len(lines[len(lines)-1]) {
		lines = lines[:len(lines)-1]
	}
	return strings.Join(lines, "\n")
}

// values are those of the strings in a list, as gqlparser reads it.
func values(t rapid.TB, document string) []string {
	t.Helper()
	parsed, err := parser.ParseQuery(&ast.Source{Input: document})
	if err != nil {
		t.Fatalf("%v: %q", err, document)
	}
	var values []string
	for _, child := range parsed.Operations[0].SelectionSet[0].(*ast.Field).Arguments[0].Value.Children {
		values = append(values, child.Value.Raw)
	}
	return values
}

func TestBlockStrings_HaveTheSpecificationsValue(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"":                     "",
		"Hello":                "Hello",
		"Hello\n      world":   "Hello\nworld",
		"  Hello\n      world": "  Hello\nworld",
		"      Hello\n  world": "      Hello\nworld",
		"\n    Hello,\n      World!\n\n    Yours,\n      GraphQL.\n  ": "Hello,\n  World!\n\nYours,\n  GraphQL.",
		"Hello\r\n      world\r    !":                                  "Hello\n  world\n!",
		"Hello\n\t\tworld\n\t !":                                       "Hello\nworld\n!",
		"Hello\n \tworld\n\t  !":                                       "Hello\nworld\n !",
		"é\n  ü\n    \U0001F600\u2028  z":                              "é\nü\n  \U0001F600\u2028  z",
		"a\n\u00a0 b":                                                  "a\n\u00a0 b",
		"a\n    \n   b\n          \n  c":                               "a\n  \n b\n        \nc",
		"a\n  b\n   ":                                                  "a\nb",
		"a\n ":                                                         "a",
		" \n\t\n  ":                                                    "",
		`say \"""` + "\n    \\\"\"\" \\n":                              "say \"\"\"\n\"\"\" \\n",
		"a\n  \"\" b":                                                  "a\n\"\" b",
		`a\`:                                                           `a\`,
		"# a\n    # b":                                                 "# a\n# b",
	} {
		if strings.HasSuffix(raw, `\`) {
			raw += " " // It would escape the quotes.
			want += " "
		}
		if got := specified(raw); got != want {
			t.Errorf("the test's own value of %q is %q, want %q", raw, got, want)
		}
		document := gqlidem.BlockStrings(`{f(a: ["""` + raw + `"""])}`)
		if diff := cmp.Diff([]string{want}, values(t, document)); diff != "" {
			t.Errorf("%q in %q (-want +got):\n%s", raw, document, diff)
		}
	}
}

// However strings and comments follow each other, each has its own value.
func TestBlockStrings_OfAnyDocument(t *testing.T) {
	t.Parallel()
	line := rapid.StringMatching(`[ \t]{0,5}("{0,2}[aé# ]|\\"""|\\){0,3}[ \t]{0,3}`)
	rapid.Check(t, func(t *rapid.T) {
		var document strings.Builder
		var want []string
		document.WriteString("{f(a: [")
		for range rapid.IntRange(1, 4).Draw(t, "strings") {
			switch rapid.IntRange(0, 2).Draw(t, "kind") {
			case 0:
				document.WriteString("# \"\"\" a \" comment\n")
			case 1:
				document.WriteString(` "\"\"\" # \\"`)
				want = append(want, `""" # \`)
			default:
				raw := rapid.SliceOfN(line, 1, 5).Draw(t, "lines")
				text := strings.Join(raw, rapid.SampledFrom([]string{"\n", "\r\n", "\r"}).Draw(t, "end"))
				if strings.HasSuffix(text, `\`) || strings.HasSuffix(text, `"`) {
					text += "x"
				}
				document.WriteString(`"""` + text + `"""`)
				want = append(want, specified(text))
				document.WriteString(" ")
			}
		}
		corrected := gqlidem.BlockStrings(document.String() + "])}")
		if diff := cmp.Diff(want, values(t, corrected)); diff != "" {
			t.Fatalf("%q as %q (-want +got):\n%s", document.String(), corrected, diff)
		}
		if again := gqlidem.BlockStrings(corrected); again != corrected {
			t.Fatalf("%q, then %q", corrected, again)
		}
		wrong := document.String() + "], b: $)}"
		_, before := parser.ParseQuery(&ast.Source{Input: wrong})
		_, after := parser.ParseQuery(&ast.Source{Input: gqlidem.BlockStrings(wrong)})
		if diff := cmp.Diff(before.Error(), after.Error()); diff != "" {
			t.Fatalf("an error behind the strings is elsewhere (-before +after):\n%s", diff)
		}
	})
}

func TestBlockStrings_LeavesWhatIsReadRight(t *testing.T) {
	t.Parallel()
	for _, document := range []string{
		"", `{f(a: "x")}`, "# \"\"\"\n  {f}", `{f(a: "\"\"\"", b: "#")}`, `{f(a: """x""")}`, "{f(a: \"\"\"\n  x\n    y\n\"\"\")}",
		"{f(a: \"\"\"x\ny\"\"\")}", `{f(a: """x`, `{f(a: "x`, "{f(a: \"x\n\"\"\"a\n  b\"\"\")}", `{f(a: """\"""`, `""""`, `"""""`,
	} {
		if got := gqlidem.BlockStrings(document); got != document {
			t.Errorf("%q becomes %q", document, got)
		}
	}
}

// A row of quotes ends at its first three, as for everyone else.
func TestBlockStrings_EndWithTheFirstQuotes(t *testing.T) {
	t.Parallel()
	for document, want := range map[string][]string{
		`{f(a: ["""a"""""""""])}`:  {"a", ""},
		`{f(a: ["""a""""b"])}`:     {"a", "b"},
		`{f(a: ["""a""""""b"""])}`: {"a", "b"},
		`{f(a: [""""""""])}`:       {"", ""},
		`{f(a: [""""a"""])}`:       {`"a`},
		`{f(a: ["""a\""""""""])}`:  {`a"""`, ""},
	} {
		if diff := cmp.Diff(want, values(t, gqlidem.BlockStrings(document))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", document, diff)
		}
	}
	if _, err := parser.ParseQuery(&ast.Source{Input: gqlidem.BlockStrings(`{f(a: """a"""")}`)}); err == nil {
		t.Error("a quote too many is taken")
	}
}

// The resolver, the fingerprint and the defaults of variables have one value.
func TestDo_ReadsBlockStringsAsTheSpecificationDoes(t *testing.T) {
	t.Parallel()
	once := newOnce(t, pgtest.Pool(t))
	var seen []any
	server := serve(noteSDL, once, resolvers{"write": func(ctx context.Context) (any, error) {
		text := graphql.GetFieldContext(ctx).Args["text"]
		return gqlidem.Do(ctx, once, func(context.Context, pgx.Tx) (*note, error) {
			seen = append(seen, text)
			return &note{"a"}, nil
		})
	}})
	for i, document := range []string{
		"mutation { write(text: \"\"\"Hello\n        world\"\"\", idempotencyKey: \"k\") { text } }",
		`mutation { write(text: "Hello\nworld", idempotencyKey: "k") { text } }`,
		"mutation(\"\"\"The\n    text\"\"\" $t: String! = \"\"\"Hello\n      world\"\"\") { write(text: $t, idempotencyKey: \"k\") { text } }",
		"mutation { write(text: \"\"\"\n    Hello\n    world\n  \"\"\", idempotencyKey: \"k\") { text } }",
	} {
		r := send(t, server, document)
		want := map[bool]string{true: "EXECUTED", false: "REPLAYED"}[i == 0]
		if diff := cmp.Diff(statuses{"write": want}, r.statuses()); diff != "" {
			t.Errorf("%s: status (-want +got):\n%s\n%s", document, diff, r.body)
		}
	}
	if got, _ := json.Marshal(seen); string(got) != `["Hello\nworld"]` {
		t.Errorf("the effect saw %s", got)
	}
}

// An extension that finds documents by their hash comes first: the hash is that of the
// document as it was sent.
func TestBlockStrings_OfPersistedQueries(t *testing.T) {
	t.Parallel()
	once := newOnce(t, pgtest.Pool(t))
	server := handler.New(executable{
		gqlparser.MustLoadSchema(&ast.Source{Input: noteSDL}),
		writing(once, func(context.Context, pgx.Tx) (*note, error) { return &note{"a"}, nil }),
	})
	server.AddTransport(transport.POST{})
	server.Use(extension.AutomaticPersistedQuery{Cache: lru.New[string](10)})
	server.Use(once)
	document := "mutation { write(text: \"\"\"Hello\n        world\"\"\", idempotencyKey: \"k\") { text } }"
	extensions := map[string]any{"persistedQuery": map[string]any{"version": 1, "sha256Hash": fmt.Sprintf("%x", sha256.Sum256([]byte(document)))}}
	for _, step := range []struct {
		request map[string]any
		status  string
	}{
		{map[string]any{"query": document, "extensions": extensions}, "EXECUTED"},
		{map[string]any{"extensions": extensions}, "REPLAYED"},
		{map[string]any{"query": `mutation { write(text: "Hello\nworld", idempotencyKey: "k") { text } }`}, "REPLAYED"},
	} {
		body, err := json.Marshal(step.request)
		if err != nil {
			t.Fatal(err)
		}
		r := postBody(t, server, "", string(body))
		if diff := cmp.Diff(statuses{"write": step.status}, r.statuses()); diff != "" {
			t.Errorf("%s: status (-want +got):\n%s\n%s", body, diff, r.body)
		}
	}
}

func BenchmarkBlockStrings_None(b *testing.B) {
	document := `mutation($in: CreateProjectInput!) { createProject(input: $in, idempotencyKey: "k") { project { id name } } }`
	for b.Loop() {
		gqlidem.BlockStrings(document)
	}
}
