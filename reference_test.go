package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"

	"github.com/onceql/onceql/idempotency/gqlidem"
	"github.com/onceql/onceql/internal/telemetry"
)

// A setting that is added, renamed or given another default is one that operators
// look up in docs/reference.md.
func TestReference_HasEverySetting(t *testing.T) {
	t.Parallel()
	parser, err := kong.New(&commandLine{}, defaults(), kong.Vars{"data_dir": "see below"})
	if err != nil {
		t.Fatal(err)
	}
	want, wantCommands := map[string]string{}, map[string]bool{}
	for _, command := range parser.Model.Leaves(false) {
		wantCommands["onceql "+command.Path()] = true
		for _, flag := range command.Flags {
			if len(flag.Envs) != 1 || strings.ToLower(strings.ReplaceAll(flag.Envs[0], "_", "-")) != flag.Name {
				t.Errorf("--%s is the variable %v, want the one that reference.md derives", flag.Name, flag.Envs)
				continue
			}
			switch {
			case flag.HasDefault:
				want[flag.Envs[0]] = flag.Default
			case flag.IsBool():
				want[flag.Envs[0]] = "false"
			default:
				want[flag.Envs[0]] = "none"
			}
		}
	}
	got, commands := map[string]string{}, map[string]bool{}
	for _, row := range table(t, "variable", "default", "meaning") {
		got[row[0]] = row[1]
	}
	for _, row := range table(t, "command", "what it does") {
		commands[row[0]] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/reference.md (+) and the flags (-):\n%s", diff)
	}
	if diff := cmp.Diff(wantCommands, commands); diff != "" {
		t.Errorf("docs/reference.md (+) and the commands (-):\n%s", diff)
	}
}

// A code that the server gives is one that clients look up.
func TestReference_HasEveryErrorCode(t *testing.T) {
	t.Parallel()
	got := map[string]string{}
	for _, row := range table(t, "code", "when", "retryable") {
		got[row[0]] = row[2]
	}
	if diff := cmp.Diff(errorCodes(t), got); diff != "" {
		t.Errorf("docs/reference.md (+) and the constants of the code (-):\n%s", diff)
	}
}

// A metric that the server has is one that operators look up.
func TestReference_HasEveryMetric(t *testing.T) {
	t.Parallel()
	families, err := telemetry.New("", slog.New(slog.DiscardHandler)).Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	want, got := map[string]string{}, map[string]string{}
	for _, family := range families {
		if family.GetHelp() == "" {
			t.Errorf("%s has no help text", family.GetName())
		}
		if !strings.HasPrefix(family.GetName(), "onceql_") {
			continue
		}
		labels := map[string]bool{}
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				labels[label.GetName()] = true
			}
		}
		want[family.GetName()] = fmt.Sprint(strings.ToLower(family.GetType().String()), slices.Sorted(maps.Keys(labels)))
	}
	for _, row := range table(t, "metric", "type", "labels", "meaning") {
		labels := regexp.MustCompile(`[a-z]+`).FindAllString(row[2], -1)
		if row[2] == "none" {
			labels = nil
		}
		slices.Sort(labels)
		got[row[0]] = fmt.Sprint(row[1], labels)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/reference.md (+) and the metrics (-):\n%s", diff)
	}
}

// The words are those of metrics, logs and traces.
func TestReference_HasEveryOutcome(t *testing.T) {
	t.Parallel()
	var want, got []string
	for _, outcome := range telemetry.Outcomes() {
		want = append(want, outcome.String())
	}
	for _, row := range table(t, "outcome", "how the call ended") {
		got = append(got, row[0])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/reference.md (+) and the outcomes (-):\n%s", diff)
	}
}

func TestReference_HasEveryReasonOfARefusal(t *testing.T) {
	t.Parallel()
	want, got := map[telemetry.Reason]bool{}, map[telemetry.Reason]bool{}
	for _, reason := range telemetry.Reasons() {
		want[reason] = true
	}
	for _, row := range table(t, "reason", "what is refused", "code or status") {
		switch row[0] {
		case "limit_…":
			got["limit_other"] = true
			for _, limit := range listed(t, "reference.md", "`extensions.limit` is one of ") {
				got[telemetry.Reason("limit_"+limit)] = true
			}
			continue
		case "token_…":
			for _, token := range listed(t, "operations.md", "the reason is one of ") {
				got[telemetry.Reason("token_"+token)] = true
			}
			continue
		}
		got[telemetry.Reason(row[0])] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/reference.md (+) and the reasons (-):\n%s", diff)
	}
}

// listed returns the words in marks of code from there to the end of the sentence.
func listed(t testing.TB, file, from string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("docs", file))
	if err != nil {
		t.Fatal(err)
	}
	_, list, found := strings.Cut(string(text), "\n"+from)
	list, _, ended := strings.Cut(list, ".")
	if !found || !ended {
		t.Fatalf("docs/%s has no list that begins with %q", file, from)
	}
	var words []string
	for _, match := range regexp.MustCompile("`([A-Za-z_]+)`").FindAllStringSubmatch(list, -1) {
		words = append(words, match[1])
	}
	return words
}

// table returns the rows of the table in docs/reference.md that has these heads,
// without the marks of code. No cell is empty, and no row comes twice.
func table(t testing.TB, heads ...string) [][]string {
	t.Helper()
	return tableOf(t, "reference.md", heads...)
}

// tableOf returns that of a file of the directory docs.
func tableOf(t testing.TB, file string, heads ...string) [][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("docs", file))
	if err != nil {
		t.Fatal(err)
	}
	_, below, found := strings.Cut(string(text), "| "+strings.Join(heads, " | ")+" |\n"+strings.Repeat("|---", len(heads))+"|\n")
	if !found {
		t.Fatalf("docs/%s has no table of %v", file, heads)
	}
	var rows [][]string
	seen := map[string]bool{}
	for line := range strings.Lines(below) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		cells := strings.Split(strings.Trim(line, "|\n"), "|")
		for i := range cells {
			cells[i] = strings.Trim(strings.TrimSpace(cells[i]), "`")
		}
		if len(cells) != len(heads) || seen[cells[0]] || cells[len(cells)-1] == "" {
			t.Errorf("docs/%s: this row has a cell too few or too many, an empty one, or comes twice: %s", file, line)
			continue
		}
		seen[cells[0]] = true
		rows = append(rows, cells)
	}
	return rows
}

// Codes that are another module's constants.
var foreignCodes = map[string]string{
	"errcode.ParseFailed":      errcode.ParseFailed,
	"errcode.ValidationFailed": errcode.ValidationFailed,
}

// errorCodes returns the values of this module's constants that are named for the code
// of an error, and whether each is retryable: "yes" or "no".
func errorCodes(t testing.TB) map[string]string {
	t.Helper()
	values := map[string]string{} // By the constant's name.
	for _, file := range sources(t) {
		maps.Copy(values, codeConstants(t, file))
	}
	retryable := map[string]string{}
	for _, code := range values {
		retryable[code] = "no"
		if gqlidem.Retryable(code) {
			retryable[code] = "yes"
		}
	}
	return retryable
}

// sources are the parsed files of this module that are in the program.
func sources(t testing.TB) []*ast.File {
	t.Helper()
	var parsed []*ast.File
	for path, text := range files(t, ".go") {
		if strings.HasSuffix(path, "_test.go") || inModuleOfItsOwn(path) {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, file)
	}
	return parsed
}

// files returns the texts of this repository's files with the extension, by their
// paths, but for what is built or fetched, which may come and go meanwhile.
func files(t testing.TB, extension string) map[string]string {
	t.Helper()
	texts := map[string]string{}
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() && path != "." && (name[0] == '.' || name == "node_modules" || name == "bin" || name == "dist") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != extension {
			return nil
		}
		text, err := os.ReadFile(path)
		texts[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

// inModuleOfItsOwn says whether the file is of another module of this repository.
func inModuleOfItsOwn(path string) bool {
	for dir := filepath.Dir(path); dir != "."; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return true
		}
	}
	return false
}

var (
	codeName  = regexp.MustCompile(`^[cC]ode[A-Z]`)
	codeValue = regexp.MustCompile(`^[A-Z_]+$`)
)

// codeConstants returns the file's constants of codes by their names. One that is
// another constant of this module is in the file of that one.
func codeConstants(t testing.TB, file *ast.File) map[string]string {
	t.Helper()
	values := map[string]string{}
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for i, value := range spec.Values {
			name := spec.Names[i].Name
			if !codeName.MatchString(name) {
				continue
			}
			switch value := value.(type) {
			case *ast.BasicLit:
				if code, err := strconv.Unquote(value.Value); err == nil && codeValue.MatchString(code) {
					values[name] = code
				}
			case *ast.SelectorExpr:
				if code, known := foreignCodes[selected(value)]; known {
					values[name] = code
				} else if value.Sel.Name != name {
					t.Errorf("%s is %s: foreignCodes does not know it", name, selected(value))
				}
			}
		}
		return true
	})
	return values
}

func selected(selector *ast.SelectorExpr) string {
	if x, ok := selector.X.(*ast.Ident); ok {
		return x.Name + "." + selector.Sel.Name
	}
	return selector.Sel.Name
}
