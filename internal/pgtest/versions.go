package pgtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/onceql/onceql/internal/npm"
	"github.com/onceql/onceql/migrations"
)

// VersionVariable names the environment's variable with the major version that all tests
// run on, one of Versions. Without it they run on the machine's own.
const VersionVariable = "ONCEQL_TEST_POSTGRES"

// Versions are the major versions besides the machine's own, see versions/package.json.
var Versions = func() []string {
	versions := []string{"16", "17", "18"}
	if runtime.GOOS == "linux" && runtime.GOARCH == "amd64" { // The oldest has no other package.
		versions = append([]string{"14"}, versions...)
	}
	return versions
}()

// NewVersion is NewServer of a major version, one of Versions; empty means the machine's
// own.
func NewVersion(t testing.TB, version string) *Server {
	t.Helper()
	server, err := newServer(t, version)
	if err == nil {
		t.Cleanup(server.remove)
		err = migrations.Up(t.Context(), server.URL())
	}
	if err != nil {
		t.Fatal(err)
	}
	return server
}

// installed are the programs of versions, by version.
var installed struct {
	sync.Mutex
	dirs map[string]string
}

// programs returns the directory of a version's programs. They are a copy, which the
// user that runs PostgreSQL can read wherever this repository is, and with the links
// that a package of npm can't hold.
func programs(t testing.TB, version string) (string, error) {
	t.Helper()
	installed.Lock()
	defer installed.Unlock()
	dir, ok := installed.dirs[version]
	if !ok {
		_, file, _, _ := runtime.Caller(0)
		packages := filepath.Join(filepath.Dir(file), "versions")
		npm.Install(t, packages)
		name := strings.Join([]string{"postgres", version, runtime.GOOS, strings.Replace(runtime.GOARCH, "amd64", "x64", 1)}, "-")
		var err error
		if dir, err = publicDir(); err != nil {
			return "", err
		}
		if installed.dirs == nil {
			installed.dirs = make(map[string]string)
		}
		installed.dirs[version] = dir
		if err := unpack(filepath.Join(packages, "node_modules", name), dir); err != nil {
			return "", fmt.Errorf("unpacking the package %s: %w", name, err)
		}
	}
	return filepath.Join(dir, "native", "bin"), nil
}

func unpack(from, to string) error {
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(to, "native", "pg-symlinks.json"))
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string } // native/lib/libpq.so.5.18, native/lib/libpq.so.5
	if err := json.Unmarshal(text, &links); err != nil {
		return err
	}
	for _, link := range links {
		// Some versions of npm let the package make them itself.
		err := os.Symlink(filepath.Join(to, link.Source), filepath.Join(to, link.Target))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

func removePrograms() {
	for _, dir := range installed.dirs {
		_ = os.RemoveAll(dir)
	}
}
