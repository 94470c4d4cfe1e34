package embeddedpg_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/onceql/onceql/internal/embeddedpg"
)

func TestStart_RefusesDataOfAnotherVersion(t *testing.T) {
	t.Parallel()
	dir := usedDir(t)
	file := filepath.Join(dir, "data", "PG_VERSION")
	own, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("12\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, dir)
	err = refused(t, embeddedpg.Config{Dir: dir})
	if !errors.Is(err, embeddedpg.ErrDataVersion) {
		t.Errorf("%v, want ErrDataVersion", err)
	}
	mentions(t, err, "PostgreSQL 12 wrote", dir, "install PostgreSQL 12", "postgresql-12", "DATA_DIR", "DATABASE_URL")
	if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
		t.Errorf("it changed the directory:\n%s", diff)
	}

	if err := os.WriteFile(file, own, 0o600); err != nil {
		t.Fatal(err)
	}
	checkKept(t, start(t, embeddedpg.Config{Dir: dir}))
}

func TestStart_RefusesForeignFiles(t *testing.T) {
	t.Parallel()
	files := map[string]map[string]string{
		"a home":                   {"tmp/mine": "x", "lock": "x"},
		"a data directory":         {"PG_VERSION": "15\n", "base/1/1": "x"},
		"files in place of data":   {"onceql.lock": "", "data/mine": "x"},
		"a file in place of data":  {"onceql.lock": "", "data": "x"},
		"a directory beneath data": {"onceql.lock": "", "data/base/x": ""},
	}
	for name, files := range files {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := newDir(t)
			fill(t, dir, files)
			checkRefusesForeign(t, dir)
		})
	}
	t.Run("a link in place of data", func(t *testing.T) {
		t.Parallel()
		dir := newDir(t)
		fill(t, dir, map[string]string{"onceql.lock": ""})
		if err := os.Symlink(publicDir(t), filepath.Join(dir, "data")); err != nil {
			t.Fatal(err)
		}
		checkRefusesForeign(t, dir)
	})
}

func checkRefusesForeign(t testing.TB, dir string) {
	t.Helper()
	before := snapshot(t, dir)
	mentions(t, refused(t, embeddedpg.Config{Dir: dir}), dir, "not PostgreSQL's", "set DATA_DIR to")
	if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
		t.Errorf("it changed the directory:\n%s", diff)
	}
}

// Whoever may write there could put data, a password or a program in.
func TestStart_RefusesADirectoryThatEveryoneMayWrite(t *testing.T) {
	t.Parallel()
	fresh := newDir(t)
	if err := os.MkdirAll(fresh, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{fresh, usedDir(t)} {
		for _, mode := range []os.FileMode{0o777, 0o702, 0o777 | os.ModeSticky} {
			if err := os.Chmod(dir, mode); err != nil {
				t.Fatal(err)
			}
			before := snapshot(t, dir)
			mentions(t, refused(t, embeddedpg.Config{Dir: dir}), "everyone may write", dir, "DATA_DIR", "DATABASE_URL")
			if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
				t.Errorf("it changed the directory:\n%s", diff)
			}
		}
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	checkKept(t, start(t, embeddedpg.Config{Dir: usedDir(t)}))
}

func TestStart_DoesNotMakeASecondPassword(t *testing.T) {
	t.Parallel()
	dir := usedDir(t)
	if err := os.Remove(filepath.Join(dir, "password")); err != nil {
		t.Fatal(err)
	}
	mentions(t, refused(t, embeddedpg.Config{Dir: dir}), filepath.Join(dir, "password"))
	if exists(filepath.Join(dir, "password")) {
		t.Error("it made another password, which the data do not have")
	}
}

// What a start that was cut short leaves: an initdb and a fetch half done, a
// password without data, the empty directory of the data.
func TestStart_BeginsAgainAfterHalfAStart(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	fill(t, dir, map[string]string{
		"onceql.lock":                    "process",
		"password":                       "from the first try",
		"tmp/data/PG_VERSION":            "15\n",
		"tmp/data/base/1/1":              "half a table",
		"tmp/postgresql/bin/postgres":    "half a program",
		"tmp/cache/temp_1":               "half an archive",
		"data/there would be files here": "",
	})
	if err := os.Remove(filepath.Join(dir, "data/there would be files here")); err != nil {
		t.Fatal(err)
	}
	embedded := start(t, embeddedpg.Config{Dir: dir})
	if got := ask(t, embedded.URL(), "select 1"); got != "1" {
		t.Errorf("it answers %q", got)
	}
	if password, _ := address(t, embedded).User.Password(); password != "from the first try" {
		t.Errorf("the password is %q", password)
	}
	if exists(filepath.Join(dir, "tmp")) {
		t.Error("the temporary files are still there")
	}
}

// A volume of its own begins with a lost+found.
func TestStart_TakesAVolume(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	if err := os.MkdirAll(filepath.Join(dir, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, filepath.Join(dir, "lost+found"))
	fake := installation(t, filepath.Join(publicDir(t), "bin"), "31.4")
	mentions(t, refused(t, embeddedpg.Config{Dir: dir, Installations: []string{fake}}), "the initdb of 31.4")
	if diff := cmp.Diff(before, snapshot(t, filepath.Join(dir, "lost+found"))); diff != "" {
		t.Error(diff)
	}
}
