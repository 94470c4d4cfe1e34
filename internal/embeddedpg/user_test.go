package embeddedpg_test

import (
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/onceql/onceql/internal/embeddedpg"
)

// For root: as the first user that there is, and as whoever ran it here before.
// For anyone else: as that user, whatever Users says.
func TestStart_NeverRunsAsRoot(t *testing.T) {
	t.Parallel()
	uid, _ := serverUser(t)
	t.Run("without a user postgres", func(t *testing.T) {
		t.Parallel()
		dir := newDir(t)
		if os.Geteuid() == 0 {
			uid = userID(t, "nobody")
		}
		first := start(t, embeddedpg.Config{Dir: dir, Users: []string{"no-such-user", "nobody"}})
		checkRunsAs(t, first.URL(), dir, uid)
		stop(t, first)
		// A user postgres that is made later does not take the data over.
		checkRunsAs(t, start(t, embeddedpg.Config{Dir: dir}).URL(), dir, uid)
	})
	t.Run("with no user at all", func(t *testing.T) {
		t.Parallel()
		dir := newDir(t)
		config := embeddedpg.Config{Dir: dir, Users: []string{"no-such-user"}}
		if os.Geteuid() == 0 {
			mentions(t, refused(t, config), "root", "no-such-user", "DATABASE_URL")
			return
		}
		checkRunsAs(t, start(t, config).URL(), dir, uid)
	})
}

// An ordinary user: nobody when the tests run as root, else the tests' own.
func TestStart_RunsForAnOrdinaryUser(t *testing.T) {
	t.Parallel()
	dir, uid := newDir(t), os.Getuid()
	program, credential := executable(t), (*syscall.Credential)(nil)
	if os.Geteuid() == 0 {
		uid = userID(t, "nobody")
		credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
		program = copyOf(t, program)
		if err := os.Chown(filepath.Dir(dir), uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	h := startHelper(t, program, embeddedpg.Config{Dir: dir, Parameters: unsynced}, credential)
	answer := h.answer(t)
	if answer.Error != "" {
		t.Fatal(answer.Error)
	}
	checkRunsAs(t, answer.URL, dir, uid)
	if owner, _ := ownerOf(t, dir); owner != uid {
		t.Errorf("the directory is the user %d's, want %d", owner, uid)
	}
	if err := h.stop(); err != nil {
		t.Error(err)
	}
}

func TestStart_DirectoryThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	// For root: the user that runs Postgres can't enter it. For others: they can't
	// make a directory in it.
	closed := filepath.Join(publicDir(t), "closed")
	if err := os.Mkdir(closed, 0o500); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(publicDir(t), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{filepath.Join(closed, "onceql"), file, filepath.Join(file, "onceql")} {
		mentions(t, refused(t, embeddedpg.Config{Dir: dir}), dir, "DATA_DIR", "DATABASE_URL")
	}
}

// checkRunsAs checks that Postgres answers and is the user's, as are its data,
// which nobody else can read.
func checkRunsAs(t testing.TB, url, dir string, uid int) {
	t.Helper()
	if got := ask(t, url, "select 1"); got != "1" {
		t.Errorf("it answers %q", got)
	}
	for _, name := range []string{"onceql.lock", "password", "postgres.log", "data/PG_VERSION", "data/postmaster.pid"} {
		if owner, _ := ownerOf(t, filepath.Join(dir, name)); owner != uid {
			t.Errorf("%s is the user %d's, want %d", name, owner, uid)
		}
	}
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %s", info.Mode())
	}
}

func userID(t testing.TB, name string) int {
	t.Helper()
	found, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	id, err := strconv.Atoi(found.Uid)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// copyOf is a program where every user can run it.
func copyOf(t testing.TB, program string) string {
	t.Helper()
	from, err := os.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	path := filepath.Join(publicDir(t), "program")
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}
