package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A test that is renamed must not fall out of the Makefile's unnoticed: go test is
// content when a pattern matches nothing.
func TestMakefile_PatternsMatchTests(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	commands := regexp.MustCompile(`(?m)-(?:run|fuzz) '?([\w|]+)'? .*(\./\S+)$`).FindAllStringSubmatch(string(makefile), -1)
	if len(commands) == 0 {
		t.Fatal("the Makefile runs no test by its name")
	}
	for _, command := range commands {
		pattern, dir := command[1], command[2]
		names := testNames(t, dir)
		for word := range strings.SplitSeq(pattern, "|") {
			if !regexp.MustCompile(word).MatchString(names) {
				t.Errorf("no test of %s has %q in its name", dir, word)
			}
		}
	}
}

// dash, Debian's sh, takes no file that is missing for an older one.
func TestMakefile_ClientPackageInstallsInAFreshClone(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for path, text := range map[string]string{
		"Makefile":                  string(makefile),
		"clients/package-lock.json": "{}",
		"path/npm":                  "#!/bin/sh\necho \"$1\" >>" + filepath.Join(dir, "ran") + "\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, path), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.CommandContext(t.Context(), "make", "client-package")
	command.Dir = dir
	command.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "path")+string(os.PathListSeparator)+os.Getenv("PATH"))
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	ran, err := os.ReadFile(filepath.Join(dir, "ran"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(ran), "ci\npack\n"; got != want {
		t.Errorf("npm ran %q, want %q", got, want)
	}
}

// testNames are those of the package in the directory.
func testNames(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var names strings.Builder
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)`).FindAllStringSubmatch(string(source), -1) {
			names.WriteString(name[1] + "\n")
		}
	}
	return names.String()
}
