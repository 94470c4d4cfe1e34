package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"

	"github.com/onceql/onceql/idempotency/gqlidem"
)

// A setting that is added, renamed or given another default is one that operators
// look up in docs/reference.md.
func TestReference_HasEverySetting(t *testing.T) {
	t.Parallel()
	vars := defaults()
	vars["data_dir"] = "see below"
	parser, err := kong.New(&commandLine{}, vars)
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

// table returns the rows of the table in docs/reference.md that has these heads,
// without the marks of code. No cell is empty, and no row comes twice.
func table(t testing.TB, heads ...string) [][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("docs", "reference.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, below, found := strings.Cut(string(text), "| "+strings.Join(heads, " | ")+" |\n"+strings.Repeat("|---", len(heads))+"|\n")
	if !found {
		t.Fatalf("docs/reference.md has no table of %v", heads)
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
			t.Errorf("docs/reference.md: this row has a cell too few or too many, an empty one, or comes twice: %s", line)
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

// errorCodes finds the constants of this module that are named for the code of an
// error, and whether it is retryable: "yes" or "no".
func errorCodes(t testing.TB) map[string]string {
	t.Helper()
	retryable := map[string]string{}
	for _, file := range sources(t) {
		for _, code := range codeConstants(t, file) {
			retryable[code] = "no"
			if gqlidem.Retryable(code) {
				retryable[code] = "yes"
			}
		}
	}
	return retryable
}

// sources are the files of this module that are in the program.
func sources(t testing.TB) []*ast.File {
	t.Helper()
	var files []*ast.File
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if _, err := os.Stat(filepath.Join(path, "go.mod")); path != "." && err == nil || entry.Name() == "node_modules" || entry.Name() == "generated" {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		files = append(files, file)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
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
