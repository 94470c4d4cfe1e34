package embeddedpg_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/internal/embeddedpg"
)

// root is where every directory of these tests is. They all go at the end: ext4
// is slow to make files in the minute after many were removed.
var root string

// makeRoot makes it, where every user can enter it: for root another user runs
// Postgres, and t.TempDir is only its owner's.
func makeRoot() (remove func(), err error) {
	root, err = os.MkdirTemp("", "onceql-embeddedpg-")
	if err == nil {
		err = os.Chmod(root, 0o755)
	}
	return func() { os.RemoveAll(root) }, err
}

// publicDir is a new directory that every user can enter.
func publicDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(root, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// What is large, in few files.
	t.Cleanup(func() { os.RemoveAll(filepath.Join(dir, "onceql", "data", "pg_wal")) })
	return dir
}

// newDir is a data directory that does not exist yet.
func newDir(t testing.TB) string {
	t.Helper()
	return filepath.Join(publicDir(t), "onceql")
}

// template is a data directory that a server has run on, made once for all tests.
var template struct {
	sync.Once
	dir string
	// bin is where the programs are that it ran.
	bin string
	err error
}

func makeTemplate() error {
	ctx := context.Background()
	template.dir = filepath.Join(root, "template")
	embedded, err := embeddedpg.Start(ctx, embeddedpg.Config{Dir: template.dir, Parameters: unsynced})
	if err != nil {
		return err
	}
	for _, sql := range []string{
		"create table kept as select 'a row' as what",
		// Two thirds of the files.
		"update pg_database set datistemplate = false",
		"drop database template0",
		"drop database template1",
		"select setting from pg_config where name = 'BINDIR'",
	} {
		value, sqlErr := execute(ctx, embedded.URL(), sql)
		template.bin, err = value, errors.Join(err, sqlErr)
	}
	return errors.Join(err, embedded.Stop(ctx))
}

func needTemplate(t testing.TB) {
	t.Helper()
	template.Do(func() { template.err = makeTemplate() })
	if template.err != nil {
		t.Fatal(template.err)
	}
}

// usedDir is a data directory that a server has run on; checkKept finds what it
// left there.
func usedDir(t testing.TB) string {
	t.Helper()
	needTemplate(t)
	dir := newDir(t)
	// cp keeps the owner.
	if output, err := exec.Command("cp", "-a", template.dir, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	return dir
}

func checkKept(t testing.TB, embedded *embeddedpg.Server) {
	t.Helper()
	if got := ask(t, embedded.URL(), "select what from kept"); got != "a row" {
		t.Errorf("the data has %q, want what was left in it", got)
	}
}

// execute runs a statement and returns its first value, if it has any.
func execute(ctx context.Context, url, sql string) (string, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	results, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil || len(results) == 0 || len(results[0].Rows) == 0 {
		return "", err
	}
	return string(results[0].Rows[0][0]), nil
}

func ask(t testing.TB, url, sql string) string {
	t.Helper()
	value, err := execute(t.Context(), url, sql)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// unsynced makes a server fast. What no test does is to cut the power.
var unsynced = map[string]string{"fsync": "off"}

// start starts Postgres and stops it after the test.
func start(t testing.TB, config embeddedpg.Config) *embeddedpg.Server {
	t.Helper()
	if config.Parameters == nil {
		config.Parameters = unsynced
	}
	embedded, err := embeddedpg.Start(patient(t), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, embedded) })
	return embedded
}

func stop(t testing.TB, embedded *embeddedpg.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	if err := embedded.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// refused starts Postgres where it can't, and returns the error.
func refused(t testing.TB, config embeddedpg.Config) error {
	t.Helper()
	embedded, err := embeddedpg.Start(patient(t), config)
	if err == nil {
		stop(t, embedded)
		t.Fatal("it started")
	}
	return err
}

// patient ends before the tests' own timeout.
func patient(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until the condition holds.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after 30 s it still isn't so that %s", what)
		}
	}
}

// postmasterPid is the process that the data directory says runs on it.
func postmasterPid(t testing.TB, dir string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// running tells whether there is such a process, and not only its exit status.
func running(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	_, state, err := process(pid)
	return err == nil && !strings.HasPrefix(state, "Z")
}

// process tells what started a process, and its state.
func process(pid int) (parent int, state string, err error) {
	if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		_, err = fmt.Sscan(string(text[bytes.LastIndexByte(text, ')')+1:]), &state, &parent)
		return parent, state, err
	}
	text, err := exec.Command("ps", "-o", "stat=,ppid=", "-p", strconv.Itoa(pid)).Output()
	if err == nil {
		_, err = fmt.Sscan(string(text), &state, &parent)
	}
	return parent, state, err
}

// supervisorOf is the process that runs the Postgres of the data directory.
func supervisorOf(t testing.TB, dir string) int {
	t.Helper()
	parent, _, err := process(postmasterPid(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	return parent
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// ownerOf is the user whose file it is.
func ownerOf(t testing.TB, path string) (uid, gid int) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	return int(stat.Uid), int(stat.Gid)
}

// serverUser is the user that runs Postgres for these tests.
func serverUser(t testing.TB) (uid, gid int) {
	t.Helper()
	if os.Geteuid() != 0 {
		return os.Getuid(), os.Getgid()
	}
	found, err := user.Lookup("postgres")
	if err != nil {
		found, err = user.Lookup("nobody")
	}
	if err != nil {
		t.Fatal(err)
	}
	return number(t, found.Uid), number(t, found.Gid)
}

func number(t testing.TB, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// binDir is where the programs of the PostgreSQL are that these tests use.
func binDir(t testing.TB) string {
	t.Helper()
	needTemplate(t)
	return template.bin
}

// fill makes the directory, with these files, as one that a server has locked
// before.
func fill(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	uid, gid := serverUser(t)
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// snapshot lists what is under the directory, with modes and contents.
func snapshot(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		what := info.Mode().String() + " "
		switch {
		case entry.Name() == "onceql.lock": // Whose it was last is no data.
		case info.Mode().IsRegular():
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			what += fmt.Sprintf("%x", sha256.Sum256(text))
		case info.Mode()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(path)
			what += target
		}
		files[strings.TrimPrefix(path, dir)] = what
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// names lists what is in the directory.
func names(t testing.TB, dir string) map[string]bool {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, entry := range entries {
		found[entry.Name()] = true
	}
	return found
}
