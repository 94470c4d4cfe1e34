package embeddedpg_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/onceql/onceql/internal/embeddedpg"
)

// The layout of Maven's repository, as embedded-postgres reads it.
var jarPath = regexp.MustCompile(`^/maven2/io/zonky/test/postgres/(embedded-postgres-binaries-[a-z]+-[a-z0-9-]+)/(\d+\.\d+\.\d+)/(\S+)\.jar$`)

// A repository is a Maven repository that has one archive under every name.
type repository struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string
	// jar is the archive, sha256 what stands in its checksum's file; empty for
	// neither.
	jar    []byte
	sha256 string
}

func newRepository(t testing.TB, jar []byte) *repository {
	t.Helper()
	r := &repository{jar: jar, sha256: sum(jar)}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

// set changes what the repository has.
func (r *repository) set(jar []byte, checksum string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.jar, r.sha256 = jar, checksum
}

// requests lists what it was asked for.
func (r *repository) requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

func (r *repository) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, request.URL.Path)
	path, checksum := strings.CutSuffix(request.URL.Path, ".sha256")
	parts := jarPath.FindStringSubmatch(path)
	switch {
	case parts == nil || parts[3] != parts[1]+"-"+parts[2] || r.jar == nil || checksum && r.sha256 == "":
		http.NotFound(w, request)
	case checksum:
		_, _ = w.Write([]byte(r.sha256))
	default:
		_, _ = w.Write(r.jar)
	}
}

func sum(text []byte) string { return fmt.Sprintf("%x", sha256.Sum256(text)) }

// config is that of a machine without PostgreSQL that can reach the repository.
func (r *repository) config(dir string) embeddedpg.Config {
	return embeddedpg.Config{Dir: dir, Installations: []string{}, RepositoryURL: r.URL + "/maven2/", Parameters: unsynced}
}

// jar is an archive in the library's layout.
func jar(t testing.TB, txz []byte) []byte {
	t.Helper()
	var file bytes.Buffer
	archive := zip.NewWriter(&file)
	for name, text := range map[string][]byte{"META-INF/MANIFEST.MF": []byte("Manifest-Version: 1.0\n"), "postgres-linux-x86_64.txz": txz} {
		entry, err := archive.Create(name)
		if err == nil {
			_, err = entry.Write(text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// programs is the archive within the archive: programs that call those in bin.
func programs(t testing.TB, bin string) []byte {
	t.Helper()
	var file bytes.Buffer
	archive := tar.NewWriter(&file)
	add := func(header tar.Header, text string) {
		header.Size = int64(len(text))
		err := archive.WriteHeader(&header)
		if err == nil {
			_, err = archive.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	add(tar.Header{Typeflag: tar.TypeDir, Name: "bin/", Mode: 0o755}, "")
	for _, name := range []string{"initdb", "pg_ctl", "postgres-15"} {
		script := fmt.Sprintf("#!/bin/sh\nexec '%s/%s' \"$@\"\n", bin, strings.TrimSuffix(name, "-15"))
		add(tar.Header{Typeflag: tar.TypeReg, Name: "bin/" + name, Mode: 0o755}, script)
	}
	add(tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/postgres", Linkname: "postgres-15", Mode: 0o777}, "")
	// More than a chunk of the compression's format holds.
	add(tar.Header{Typeflag: tar.TypeReg, Name: "share/large", Mode: 0o644}, strings.Repeat("postgres ", 20_000))
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	return storedXZ(file.Bytes())
}

func TestStart_FetchesOnce(t *testing.T) {
	t.Parallel()
	repository, dir := newRepository(t, jar(t, programs(t, binDir(t)))), newDir(t)
	first := start(t, repository.config(dir))
	ask(t, first.URL(), "create table kept as select 'a row' as what")
	stop(t, first)
	asked := repository.requests()
	if len(asked) != 2 || !jarPath.MatchString(asked[0]) || asked[1] != asked[0]+".sha256" {
		t.Errorf("it asked for %q, want one archive and its checksum", asked)
	}

	repository.Close()
	checkKept(t, start(t, repository.config(dir)))
}

// The library compares a checksum where there is one.
func TestStart_FetchesWithoutAChecksum(t *testing.T) {
	t.Parallel()
	fake := installation(t, filepath.Join(publicDir(t), "bin"), "31.4")
	repository, archive := newRepository(t, nil), jar(t, programs(t, fake))
	repository.set(archive, "")
	mentions(t, refused(t, repository.config(newDir(t))), "the initdb of 31.4")
}

func TestStart_CannotFetch(t *testing.T) {
	t.Parallel()
	txz := programs(t, binDir(t))
	good, broken, empty := jar(t, txz), jar(t, txz[:len(txz)/2]), jar(t, storedXZ(make([]byte, 1024)))
	tests := map[string]struct {
		change func(*repository)
		want   string
	}{
		"nobody answers":      {func(r *repository) { r.Close() }, "unable to connect"},
		"there is none":       {func(r *repository) { r.set(nil, "") }, "no version found"},
		"a wrong checksum":    {func(r *repository) { r.set(good, sum(broken)) }, "checksums do not match"},
		"not an archive":      {func(r *repository) { r.set(txz, sum(txz)) }, "not a valid zip file"},
		"a broken archive":    {func(r *repository) { r.set(broken, sum(broken)) }, "unable to extract"},
		"nothing of Postgres": {func(r *repository) { r.set(empty, sum(empty)) }, "does not run here"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repository, dir := newRepository(t, good), newDir(t)
			test.change(repository)
			err := refused(t, repository.config(dir))
			if !errors.Is(err, embeddedpg.ErrNoPostgres) {
				t.Errorf("%v, want ErrNoPostgres", err)
			}
			mentions(t, err, test.want, "DATABASE_URL", "the package postgresql)")
			if strings.Count(err.Error(), "\n") > 0 {
				t.Errorf("the error has more than a line: %q", err)
			}
			// So that nothing stands in the way of what would work next time.
			want := map[string]bool{"onceql.lock": true}
			if diff := cmp.Diff(want, names(t, dir)); diff != "" {
				t.Errorf("it left something behind:\n%s", diff)
			}
		})
	}
}

// With data there already it is their version that is fetched, or named.
func TestStart_FetchesTheVersionOfTheData(t *testing.T) {
	t.Parallel()
	for version, fetchable := range map[string]bool{"16": true, "12": false} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			repository, dir := newRepository(t, nil), newDir(t)
			fill(t, dir, map[string]string{"onceql.lock": "", "data/PG_VERSION": version + "\n"})
			err := refused(t, repository.config(dir))
			if !errors.Is(err, embeddedpg.ErrNoPostgres) {
				t.Errorf("%v, want ErrNoPostgres", err)
			}
			mentions(t, err, "postgresql-"+version, "DATABASE_URL")
			asked := repository.requests()
			if got := strings.Contains(strings.Join(asked, " "), "/"+version+"."); got != fetchable {
				t.Errorf("it asked for %q", asked)
			}
		})
	}
}

func TestStart_CallerGivesUpWhileItFetches(t *testing.T) {
	t.Parallel()
	asked, release := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(asked)
		<-release
	}))
	defer server.Close()
	defer close(release)
	dir := newDir(t)
	parent := startHelper(t, executable(t), embeddedpg.Config{Dir: dir, Installations: []string{}, RepositoryURL: server.URL}, nil)
	<-asked
	parent.kill(t)
	eventually(t, "its supervisor is gone", func() bool { return unlocked(t, dir) })
}
