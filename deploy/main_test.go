package main

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/match"
	"github.com/google/go-containerregistry/pkg/v1/partial"

	"github.com/onceql/onceql/internal/pgtest"
)

func TestMain(m *testing.M) {
	enterContainer()
	defer func() { _ = os.RemoveAll(built.dir) }()
	pgtest.Main(m)
}

// built is where `make image` wrote.
var built struct {
	dir  string
	once sync.Once
	err  error
}

// testVersion is that of the image under test.
const testVersion = "1.2.3"

// builtDir runs `make image` for this machine, once.
func builtDir(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "onceql-image-"); built.err != nil {
			return
		}
		// The image's user has to find its way to what is unpacked in there.
		if built.err = os.Chmod(built.dir, 0o755); built.err != nil {
			return
		}
		build := exec.Command("make", "-C", "..", "image", "VERSION="+testVersion, "ARCHITECTURES="+runtime.GOARCH, "IMAGES="+built.dir)
		if output, err := build.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w\n%s", err, output)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.dir
}

// builtImage returns this machine's image of the layout that `make image` wrote.
func builtImage(t testing.TB) v1.Image {
	t.Helper()
	return imageFor(t, builtDir(t), runtime.GOARCH)
}

// imageFor is the image for the architecture of the layout in there.
func imageFor(t testing.TB, dir, architecture string) v1.Image {
	t.Helper()
	index, err := layout.ImageIndexFromPath(filepath.Join(dir, "oci"))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		t.Fatalf("the layout has not one index: %v", err)
	}
	index, err = index.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	images, err := partial.FindImages(index, match.Platforms(v1.Platform{OS: "linux", Architecture: architecture}))
	if err != nil || len(images) != 1 {
		t.Fatalf("the index has %d images for %s, want one: %v", len(images), architecture, err)
	}
	return images[0]
}

// database starts an empty PostgreSQL and makes the roles in it, as the official image does
// with a script for a new volume. It returns the server's host and port.
func database(t testing.TB, env map[string]string) string {
	t.Helper()
	address, err := url.Parse(pgtest.NewServer(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	password, _ := address.User.Password()
	psql := exec.Command("psql", "-v", "ON_ERROR_STOP=1", "--no-password", "--no-psqlrc", "--dbname", "postgres", "-f", "postgres/roles.sql")
	psql.Env = []string{
		"PATH=" + os.Getenv("PATH"), "PGHOST=" + address.Hostname(), "PGPORT=" + address.Port(),
		"PGUSER=" + address.User.Username(), "PGPASSWORD=" + password,
	}
	for name, value := range env {
		psql.Env = append(psql.Env, name+"="+value)
	}
	if output, err := psql.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return address.Host
}

// onDatabase returns the environment with the addresses of the database moved to where it is
// in a test.
func onDatabase(t testing.TB, env map[string]string, host string) map[string]string {
	t.Helper()
	moved := map[string]string{}
	for name, value := range env {
		if strings.HasSuffix(name, "DATABASE_URL") {
			address, err := url.Parse(value)
			if err != nil {
				t.Fatal(err)
			}
			// A test's PostgreSQL has no certificate.
			address.Host, address.RawQuery = host, ""
			value = address.String()
		}
		moved[name] = value
	}
	return moved
}

var setting = regexp.MustCompile(`\(\$([A-Z_]+)\)`)

// checkSettings fails for a variable that the command does not know.
func checkSettings(t testing.TB, where string, env map[string]string, command ...string) {
	t.Helper()
	help, err := exec.Command(programPath(t), append(command, "--help")...).Output()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, found := range setting.FindAllStringSubmatch(string(help), -1) {
		known[found[1]] = true
	}
	if !known["DATABASE_URL"] {
		t.Fatalf("onceql %v --help names no DATABASE_URL:\n%s", command, help)
	}
	for name := range env {
		if !known[name] {
			t.Errorf("%s sets %s, which onceql %v does not know", where, name, command)
		}
	}
}

// programPath is the program that is in the image.
func programPath(t testing.TB) string {
	t.Helper()
	return filepath.Join(builtDir(t), runtime.GOARCH, "onceql")
}

// testTimeout is how long a test waits for what must come.
const testTimeout = 60 * time.Second

// eventually waits until the condition holds.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(testTimeout); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// read returns a file of this repository's directory deploy, or of one beside it.
func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
