package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The model of the protocol names the functions that its blocks stand for. Who renames
// one, or changes what it does, has to look at the model.
func TestModel_NamesFunctionsThatExist(t *testing.T) {
	t.Parallel()
	model, err := os.ReadFile("docs/model/protocol.pml")
	if err != nil {
		t.Fatal(err)
	}
	functions := map[string]map[string]bool{}
	form := regexp.MustCompile(`^([\w/]+\.go) (\w+(?:, \w+)*)$`)
	named := 0
	for n, line := range strings.Split(string(model), "\n") {
		_, comment, found := strings.Cut(line, "// ")
		if !found || strings.HasPrefix(line, " *") {
			continue
		}
		comment, _, _ = strings.Cut(comment, ":")
		for reference := range strings.SplitSeq(comment, "; ") {
			match := form.FindStringSubmatch(reference)
			if match == nil {
				t.Errorf("protocol.pml:%d: %q is not of the form \"file.go function, function\"", n+1, reference)
				continue
			}
			path := filepath.Join("idempotency", match[1])
			if functions[path] == nil {
				functions[path] = declared(t, path)
			}
			for name := range strings.SplitSeq(match[2], ", ") {
				named++
				if !functions[path][name] {
					t.Errorf("protocol.pml:%d: %s has no function %s", n+1, path, name)
				}
			}
		}
	}
	if named < 40 {
		t.Errorf("the model names %d functions, want at least 40", named)
	}
}

// declared are the names of the functions and methods of a file.
func declared(t testing.TB, path string) map[string]bool {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, declaration := range file.Decls {
		if function, ok := declaration.(*ast.FuncDecl); ok {
			names[function.Name.Name] = true
		}
	}
	return names
}
