package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A bug is a patch.
type bug struct {
	name, path string
	// text is what it is, in plain words.
	text string
	// mutation is its name in the model; empty when the model does not have it.
	mutation string
	// pkg and tests are the tests that fail over it today, a package and a pattern.
	pkg, tests string
	// files are those that it changes.
	files []string
}

// none is a tree as it is.
var none = bug{name: "00-none"}

var (
	mutationLine = regexp.MustCompile(`^model: (\w+)$`)
	testLine     = regexp.MustCompile(`^test: (\S+) (\S+)$`)
	fileLine     = regexp.MustCompile(`(?m)^\+\+\+ b/(.+)$`)
)

// rootOf is the top of the clone that this runs in.
func rootOf(ctx context.Context) (string, error) {
	top, err := output(ctx, ".", "go", "list", "-m", "-f", "{{.Dir}}")
	return strings.TrimSpace(top), err
}

// load reads the patches.
func load(root string, names *regexp.Regexp) ([]bug, error) {
	paths, err := filepath.Glob(filepath.Join(root, "seeded", "*.patch"))
	if err != nil {
		return nil, err
	}
	var bugs []bug
	for _, path := range paths {
		b, err := read(path)
		if err != nil {
			return nil, err
		}
		if names.MatchString(b.name) {
			bugs = append(bugs, b)
		}
	}
	if len(bugs) == 0 {
		return nil, errors.New("there is no such patch")
	}
	return bugs, nil
}

func read(path string) (bug, error) {
	patch, err := os.ReadFile(path)
	if err != nil {
		return bug{}, err
	}
	b := bug{name: strings.TrimSuffix(filepath.Base(path), ".patch"), path: path}
	var text []string
	for line := range strings.Lines(string(patch)) {
		line, comment := strings.CutPrefix(strings.TrimSpace(line), "# ")
		if !comment {
			break
		}
		if m := mutationLine.FindStringSubmatch(line); m != nil {
			b.mutation = m[1]
		} else if m := testLine.FindStringSubmatch(line); m != nil {
			b.pkg, b.tests = m[1], m[2]
		} else {
			text = append(text, line)
		}
	}
	b.text = strings.Join(text, " ")
	for _, m := range fileLine.FindAllStringSubmatch(string(patch), -1) {
		b.files = append(b.files, m[1])
	}
	if b.text == "" || b.files == nil {
		return bug{}, fmt.Errorf("%s does not say what it is, or changes nothing", path)
	}
	return b, nil
}

// packages are those that the bug changes.
func (b bug) packages() []string {
	var dirs []string
	for _, file := range b.files {
		if dir := "./" + filepath.Dir(file); strings.HasSuffix(file, ".go") && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// apply applies the patch to the tree.
func (b bug) apply(ctx context.Context, tree string) error {
	command := exec.CommandContext(ctx, "git", "apply", b.path)
	// A tree inside of a clone is not the clone's.
	command.Dir, command.Env = tree, append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(tree))
	if said, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("the patch no longer applies: the code has moved, see seeded/README.md: %w\n%s", err, said)
	}
	return nil
}

// compile builds and vets what the bug changes. With an overlay the tree is as it was.
func (b bug) compile(ctx context.Context, tree string, overlay []string) error {
	arguments := append(append([]string{"vet"}, overlay...), b.packages()...)
	if _, err := output(ctx, tree, "go", arguments...); err != nil {
		return fmt.Errorf("with the patch it does not compile: %w", err)
	}
	if overlay != nil {
		return nil
	}
	if _, err := output(ctx, tree, "go", "build", "./..."); err != nil {
		return fmt.Errorf("with the patch it does not compile: %w", err)
	}
	return nil
}

// check says whether the patch applies and compiles. It copies and builds no more than
// what the patch changes.
func (b bug) check(ctx context.Context, root string) error {
	tree, err := os.MkdirTemp("", "onceql-seeded-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tree) }()
	replaced := map[string]string{}
	for _, file := range b.files {
		if err := copyFile(filepath.Join(root, file), filepath.Join(tree, file)); err != nil {
			return err
		}
		replaced[filepath.Join(root, file)] = filepath.Join(tree, file)
	}
	if err := b.apply(ctx, tree); err != nil {
		return err
	}
	list, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		return err
	}
	overlay := filepath.Join(tree, "overlay.json")
	if err := os.WriteFile(overlay, list, 0o600); err != nil {
		return err
	}
	return b.compile(ctx, root, []string{"-overlay", overlay})
}

// testsTimeout bounds the tests that a patch names.
const testsTimeout = 5 * time.Minute

// runTests runs the tests that the patch names, which have to fail.
func (b bug) runTests(ctx context.Context, tree string) error {
	if b.tests == "" {
		fmt.Printf("%s: no test fails over it\n", b.name)
		return nil
	}
	start := time.Now()
	said, err := output(ctx, tree, "go", "test", "-count=1", "-timeout", testsTimeout.String(), "-run", b.tests, b.pkg)
	failed := regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`).FindStringSubmatch(said)
	switch {
	case err == nil:
		return fmt.Errorf("%s of %s do not fail", b.tests, b.pkg)
	case failed == nil:
		return fmt.Errorf("%s of %s end without a test that fails: %w", b.tests, b.pkg, err)
	}
	fmt.Printf("%s: %s fails, %.0f s\n", b.name, failed[1], time.Since(start).Seconds())
	return nil
}

// temporary is where layers keep their files in a tree, so that they go with it. Go passes
// such a name over.
const temporary = ".tmp"

// inTree copies the clone's files, as they are now, to a directory of their own.
func inTree(ctx context.Context, root string, do func(tree string) error) error {
	tree, err := os.MkdirTemp("", "onceql-seeded-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tree) }()
	// Chaos has a user of its own read what is in there.
	if err := os.Chmod(tree, 0o755); err != nil { //nolint:gosec // No secrets.
		return err
	}
	if err := os.Mkdir(filepath.Join(tree, temporary), 0o755); err != nil { //nolint:gosec // As above.
		return err
	}
	files, err := output(ctx, root, "git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		return err
	}
	for file := range strings.SplitSeq(strings.TrimSuffix(files, "\x00"), "\x00") {
		if err := copyFile(filepath.Join(root, file), filepath.Join(tree, file)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return do(tree)
}

func copyFile(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil { //nolint:gosec // As inTree.
		return err
	}
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, info.Mode().Perm()) //nolint:gosec // The paths are git's.
}

// output is what a command says, and what it says besides is its error.
func output(ctx context.Context, dir, name string, arguments ...string) (string, error) {
	command := exec.CommandContext(ctx, name, arguments...)
	var said, besides bytes.Buffer
	command.Dir, command.Stdout, command.Stderr = dir, &said, &besides
	if err := command.Run(); err != nil {
		return said.String(), fmt.Errorf("%s: %w\n%s", command, err, besides.String())
	}
	return said.String(), nil
}
