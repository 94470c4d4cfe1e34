package main

import (
	"crypto/x509"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/onceql/onceql/deploy/container"
)

// It is the program that decides, and neither the time, nor the place, nor the file's mode.
func TestImage_IsTheSameFromTheSameProgram(t *testing.T) {
	t.Parallel()
	want, err := builtImage(t).Digest()
	if err != nil {
		t.Fatal(err)
	}
	content := read(t, programPath(t))
	elsewhere := filepath.Join(t.TempDir(), "program")
	build := func(content, version string) v1.Hash {
		if err := os.WriteFile(elsewhere, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		image, err := container.New(elsewhere, runtime.GOARCH, version)
		if err != nil {
			t.Fatal(err)
		}
		digest, err := image.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return digest
	}
	if got := build(content, testVersion); got != want {
		t.Errorf("the digest is %s, and was %s", got, want)
	}
	if build(content+" ", testVersion) == want || build(content, testVersion+"4") == want {
		t.Error("another program, or another version, has the same digest")
	}
}

func TestImage_HoldsTwoFilesThatNobodyMayWrite(t *testing.T) {
	t.Parallel()
	image := unpack(t, builtImage(t))
	var files []string
	err := filepath.WalkDir(image.root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if mode := info.Mode(); mode.Perm()&0o022 != 0 || mode&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
			t.Errorf("%s has the mode %s", path, mode)
		}
		if !entry.IsDir() {
			files = append(files, strings.TrimPrefix(path, image.root))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"/etc/ssl/certs/ca-certificates.crt", "/usr/local/bin/onceql"}; !slices.Equal(files, want) {
		t.Errorf("the image holds %v, want %v", files, want)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(read(t, filepath.Join(image.root, files[0])))) || len(roots.Subjects()) < 100 { //nolint:staticcheck // They come from a file alone.
		t.Error("the image has no certificates of authorities")
	}
	if version := image.config.Labels["org.opencontainers.image.version"]; version != testVersion {
		t.Errorf("the image says that it is of version %q", version)
	}
	if len(image.config.Labels) != 5 {
		t.Errorf("the image has these labels: %v", image.config.Labels)
	}
}

// `docker load` takes the archive, and everything else the layout.
func TestImage_IsTheSameInTheArchive(t *testing.T) {
	t.Parallel()
	archived, err := tarball.ImageFromPath(filepath.Join(builtDir(t), "onceql-"+runtime.GOARCH+".tar"), nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := archived.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	want, err := builtImage(t).ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("the archive's image is %s, the layout's %s", got, want)
	}
}

// A program that would not run is found when the image is made.
func TestImage_IsOfAStaticProgramForItsMachine(t *testing.T) {
	t.Parallel()
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	for name, c := range map[string]struct{ program, architecture, says string }{
		"of another machine": {programPath(t), other, "it is for"},
		"dynamic":            {"/bin/sh", runtime.GOARCH, "not static"},
		"no program":         {"image_test.go", runtime.GOARCH, "no program"},
		"of no machine":      {programPath(t), "mips", "no images"},
	} {
		if _, err := container.New(c.program, c.architecture, "1"); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: the error is %v, want one that says %q", name, err, c.says)
		}
	}
	// The other machine's image is made as this one's.
	empty := filepath.Join(t.TempDir(), "empty.go")
	if err := os.WriteFile(empty, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	program := strings.TrimSuffix(empty, ".go")
	build := exec.Command("go", "build", "-o", program, empty)
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+other)
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	dir := t.TempDir()
	if err := write(dir, testVersion, []string{other + "=" + program, runtime.GOARCH + "=" + programPath(t)}); err != nil {
		t.Fatal(err)
	}
	for _, architecture := range []string{"amd64", "arm64"} {
		config, err := imageFor(t, dir, architecture).ConfigFile()
		if err != nil || config.Architecture != architecture || config.OS != "linux" {
			t.Errorf("the image for %s is for %v, %v", architecture, config, err)
		}
	}
}

// There is no PostgreSQL in it, and none is fetched.
func TestImage_WithoutADatabaseEndsAndSaysSo(t *testing.T) {
	t.Parallel()
	image := unpack(t, builtImage(t))
	for _, args := range [][]string{nil, {"migrate", "up"}} {
		code, output := image.ran(t, map[string]string{"ALLOW_ANONYMOUS": "true"}, args...)
		if code != 1 || strings.Count(output, "\n") != 1 || !strings.Contains(output, "DATABASE_URL is not set") {
			t.Errorf("onceql %v exits with %d and says:\n%s", args, code, output)
		}
	}
	// It listens for other machines, so it must be told who may call.
	code, output := image.ran(t, map[string]string{"DATABASE_URL": "postgres://127.0.0.1:1/none"})
	if code != 1 || !strings.Contains(output, "ALLOW_ANONYMOUS") {
		t.Errorf("without authentication it exits with %d and says:\n%s", code, output)
	}
}
