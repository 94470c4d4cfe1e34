package embeddedpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// binaries are PostgreSQL's programs of one major version, in one directory.
type binaries struct{ dir, major string }

func (b binaries) program(name string) string { return filepath.Join(b.dir, name) }

// dataVersion is the major version that wrote the data, empty when there is none.
func dataVersion(data string) (string, error) {
	text, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if err == nil {
		return strings.TrimSpace(string(text)), nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		// Rmdir takes away an empty directory, nothing else.
		err = syscall.Rmdir(data)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is not PostgreSQL's data (%w): move it away, or set DATA_DIR to another directory", data, err)
	}
	return "", nil
}

// findBinaries finds the programs of the major version, for none the first that
// there are, or fetches them.
func (s *supervisor) findBinaries(ctx context.Context, major string) (binaries, error) {
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
	found, err := s.fetch(ctx, major)
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

// inspect tells whether a directory has the programs that it takes, or links to
// them, and of which version.
func inspect(dir string) (binaries, bool) {
	// PATH may name the current directory, which is the data directory here.
	if !filepath.IsAbs(dir) {
		return binaries{}, false
	}
	found := binaries{dir: dir}
	if _, err := exec.LookPath(found.program("initdb")); err != nil {
		return binaries{}, false
	}
	// postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)
	version := exec.Command(found.program("postgres"), "-V")
	version.Env = environment(postgresVariables)
	output, err := version.Output()
	_, number, ok := strings.Cut(string(output), "(PostgreSQL) ")
	if err != nil || !ok {
		return binaries{}, false
	}
	found.major = number[:len(number)-len(strings.TrimLeft(number, "0123456789"))]
	return found, found.major != ""
}

const (
	// fetchSilence is how long the repository may take to answer.
	fetchSilence = 15 * time.Second
	// fetchTimeout is how long one file may take, of some 30 MB.
	fetchTimeout = 10 * time.Minute
)

// fetchable are the versions that the library names, newest first.
var fetchable = []embeddedpostgres.PostgresVersion{
	embeddedpostgres.V18, embeddedpostgres.V17, embeddedpostgres.V16, embeddedpostgres.V15, embeddedpostgres.V14,
}

// fetch has the library fetch the programs of the major version, for none of the
// newest, into the directory, where they are found next time.
func (s *supervisor) fetch(ctx context.Context, major string) (binaries, error) {
	index := slices.IndexFunc(fetchable, func(version embeddedpostgres.PostgresVersion) bool {
		return major == "" || strings.HasPrefix(string(version), major+".")
	})
	if index < 0 {
		return binaries{}, fmt.Errorf("there is no PostgreSQL %s to fetch", major)
	}
	version := fetchable[index]
	// The library has no call that only fetches. Its Start fetches first, and then
	// fails on these data, which are nothing but a version.
	decoy := filepath.Join(s.temporary(), "decoy")
	number, _, _ := strings.Cut(string(version), ".")
	if err := errors.Join(os.Mkdir(decoy, 0o700), os.WriteFile(filepath.Join(decoy, "PG_VERSION"), []byte(number), 0o600)); err != nil {
		return binaries{}, err
	}
	port, err := freePort(0)
	if err != nil {
		return binaries{}, err
	}
	root, extracted := filepath.Join(s.temporary(), "postgresql"), filepath.Join(s.temporary(), "extracted")
	config := embeddedpostgres.DefaultConfig().Version(version).Port(uint32(port)).
		BinariesPath(root).DataPath(decoy).RuntimePath(extracted).
		CachePath(filepath.Join(s.temporary(), "cache")).Logger(io.Discard)
	if s.RepositoryURL != "" {
		config = config.BinaryRepositoryURL(strings.TrimRight(s.RepositoryURL, "/"))
	}
	// The library takes the default client, which waits for ever.
	http.DefaultClient.Timeout = fetchTimeout
	http.DefaultTransport = &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: fetchSilence}).DialContext,
		ResponseHeaderTimeout: fetchSilence,
	}
	fmt.Fprintf(os.Stderr, "embedded PostgreSQL: none is installed; fetching version %s\n", version)
	ended := make(chan error, 1)
	go func() { ended <- embeddedpostgres.NewDatabase(config).Start() }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		return binaries{}, ctx.Err()
	}
	// The library makes this directory as soon as it has extracted everything.
	if _, statErr := os.Stat(extracted); statErr != nil {
		return binaries{}, err
	}
	found, ok := inspect(filepath.Join(root, "bin"))
	if !ok || major != "" && found.major != major {
		return binaries{}, errors.New("what was fetched does not run here")
	}
	// In one step, so that half of them is never taken for all.
	home := filepath.Join(s.Dir, "postgresql-"+found.major)
	if err := errors.Join(os.RemoveAll(home), os.Rename(root, home)); err != nil {
		return binaries{}, err
	}
	return binaries{filepath.Join(home, "bin"), found.major}, nil
}
