package db

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// binaries are PostgreSQL's programs of one major version, in root/bin.
type binaries struct{ root, major string }

func (b binaries) program(name string) string { return filepath.Join(b.root, "bin", name) }

// dataVersion is the major version that wrote the data, empty when there is none.
func dataVersion(data string) (string, error) {
	text, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if err == nil {
		return strings.TrimSpace(string(text)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading the data's version: %w", err)
	}
	// Remove takes away an empty directory, nothing else.
	if err := os.Remove(data); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s holds something that is not PostgreSQL's: move it away, or set DATA_DIR to another directory", data)
	}
	return "", nil
}

// findBinaries finds the programs of the major version, for none the first that
// there are, or fetches them.
func (s *supervisor) findBinaries(major string) (binaries, error) {
	var others []string
	for _, dir := range s.searchPath() {
		found, ok := inspect(dir)
		switch {
		case !ok:
		case major == "" || found.major == major:
			return found, nil
		case !slices.Contains(others, found.major):
			others = append(others, found.major)
		}
	}
	if len(others) > 0 {
		return binaries{}, fmt.Errorf("%w: PostgreSQL %s wrote %s, this machine has %s; "+
			"install PostgreSQL %[2]s (Debian: postgresql-%[2]s), or set DATA_DIR to another directory or DATABASE_URL to a database",
			ErrDataVersion, major, s.data(), strings.Join(others, ", "))
	}
	found, err := s.fetch(major)
	if err != nil {
		return binaries{}, fmt.Errorf("%w: none on PATH or in the usual places, and fetching it failed (%w); "+
			"install it (Debian: the package postgresql%s), or set DATABASE_URL to a database", ErrNoPostgres, err, suffix(major))
	}
	return found, nil
}

func suffix(major string) string {
	if major == "" {
		return ""
	}
	return "-" + major
}

// searchPath lists directories that may have the programs, best first.
func (s *supervisor) searchPath() []string {
	dirs := s.Installations
	if dirs == nil {
		dirs = filepath.SplitList(os.Getenv("PATH"))
		for _, pattern := range []string{
			"/usr/lib/postgresql/*/bin",   // Debian
			"/usr/pgsql-*/bin",            // PostgreSQL's own packages for Red Hat
			"/opt/homebrew/opt/*sql*/bin", // Homebrew: postgresql, postgresql@18
			"/usr/local/opt/*sql*/bin",
		} {
			dirs = append(dirs, newestFirst(pattern)...)
		}
	}
	return append(slices.Clip(dirs), newestFirst(filepath.Join(s.Dir, "postgresql-*", "bin"))...)
}

// newestFirst lists the paths that match, those with the highest number first.
func newestFirst(pattern string) []string {
	paths, _ := filepath.Glob(pattern)
	number := func(path string) int {
		n, _ := strconv.Atoi(strings.TrimLeft(filepath.Base(filepath.Dir(path)), "abcdefghijklmnopqrstuvwxyz@-"))
		return n
	}
	slices.SortStableFunc(paths, func(a, b string) int { return number(b) - number(a) })
	return paths
}

// inspect tells whether a directory has every program that it takes, and of which
// version.
func inspect(dir string) (binaries, bool) {
	if dir == "" {
		return binaries{}, false
	}
	for _, program := range []string{"initdb", "pg_ctl", "postgres"} {
		if _, err := exec.LookPath(filepath.Join(dir, program)); err != nil {
			return binaries{}, false
		}
	}
	// A directory of links, as Homebrew's bin: the programs look for their parts
	// beside themselves.
	real, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres"))
	if err == nil && filepath.Base(filepath.Dir(real)) == "bin" {
		dir = filepath.Dir(real)
	}
	// The library looks in a bin.
	if filepath.Base(dir) != "bin" || !filepath.IsAbs(dir) {
		return binaries{}, false
	}
	// postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)
	output, err := exec.Command(filepath.Join(dir, "postgres"), "-V").Output()
	_, version, ok := strings.Cut(string(output), "(PostgreSQL) ")
	if err != nil || !ok {
		return binaries{}, false
	}
	major := version[:len(version)-len(strings.TrimLeft(version, "0123456789"))]
	return binaries{root: filepath.Dir(dir), major: major}, major != ""
}

// fetchable are the versions that the library names, newest first.
var fetchable = []embeddedpostgres.PostgresVersion{
	embeddedpostgres.V18, embeddedpostgres.V17, embeddedpostgres.V16, embeddedpostgres.V15, embeddedpostgres.V14,
}

// fetch has the library fetch the programs of the major version, for none of the
// newest, into the directory, where they are found next time.
func (s *supervisor) fetch(major string) (binaries, error) {
	index := slices.IndexFunc(fetchable, func(version embeddedpostgres.PostgresVersion) bool {
		return major == "" || strings.HasPrefix(string(version), major+".")
	})
	if index < 0 {
		return binaries{}, fmt.Errorf("there is no PostgreSQL %s to fetch", major)
	}
	if err := s.clearTemporary(); err != nil {
		return binaries{}, err
	}
	// The library has no call that only fetches. Its Start fetches first, and then
	// fails on these data, which are nothing but a version.
	version := fetchable[index]
	major, _, _ = strings.Cut(string(version), ".")
	root, decoy := filepath.Join(s.Dir, "tmp", "postgresql"), filepath.Join(s.Dir, "tmp", "decoy")
	if err := errors.Join(os.Mkdir(decoy, 0o700), os.WriteFile(filepath.Join(decoy, "PG_VERSION"), []byte(major), 0o600)); err != nil {
		return binaries{}, err
	}
	config := embeddedpostgres.DefaultConfig().Version(version).BinariesPath(root).DataPath(decoy).
		RuntimePath(filepath.Join(s.Dir, "tmp", "runtime")).CachePath(filepath.Join(s.Dir, "cache")).Logger(io.Discard)
	if s.RepositoryURL != "" {
		config = config.BinaryRepositoryURL(strings.TrimRight(s.RepositoryURL, "/"))
	}
	port, err := freePort(0)
	if err != nil {
		return binaries{}, err
	}
	s.fetching.Store(true)
	err = embeddedpostgres.NewDatabase(config.Port(uint32(port))).Start() //nolint:gosec // A port.
	s.fetching.Store(false)
	if _, ok := inspect(filepath.Join(root, "bin")); !ok {
		return binaries{}, err
	}
	// In one step, so that half of them is never taken for all.
	home := filepath.Join(s.Dir, "postgresql-"+major)
	if err := errors.Join(os.RemoveAll(home), os.Rename(root, home)); err != nil {
		return binaries{}, err
	}
	return binaries{root: home, major: major}, nil
}
