// Package npm runs the tests that are written for Node.js, and installs packages for
// others.
package npm

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Command returns a command in dir, a directory with a package-lock.json, whose
// packages it installs first where they are not. What the command writes to its
// standard error is the test's output.
func Command(t testing.TB, dir, name string, args ...string) *exec.Cmd {
	t.Helper()
	Install(t, dir)
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Stderr = t.Output()
	return cmd
}

// Install installs the packages of dir, a directory with a package-lock.json, where they
// are not.
func Install(t testing.TB, dir string) {
	t.Helper()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatal("this test needs Node.js: install Node 20 or newer, with npm")
		}
	}
	if stale(dir) {
		install := exec.CommandContext(t.Context(), "npm", "ci", "--no-progress", "--no-audit", "--no-fund")
		install.Dir = dir
		if out, err := install.CombinedOutput(); err != nil {
			t.Fatalf("npm could not install the packages of %s, it needs its registry once: %v\n%s", dir, err, out)
		}
	}
}

// stale tells whether the packages are not those of the lock file: npm writes what
// it installed beside them.
func stale(dir string) bool {
	lock, err := os.Stat(filepath.Join(dir, "package-lock.json"))
	if err != nil {
		return true
	}
	installed, err := os.Stat(filepath.Join(dir, "node_modules", ".package-lock.json"))
	return errors.Is(err, fs.ErrNotExist) || err == nil && installed.ModTime().Before(lock.ModTime())
}
