package embeddedpg_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/onceql/onceql/internal/embeddedpg"
)

func TestServer_EndsWhenItsParentIsKilled(t *testing.T) {
	t.Parallel()
	dir := usedDir(t)
	parent := startHelper(t, executable(t), embeddedpg.Config{Dir: dir, Parameters: unsynced}, nil)
	if answer := parent.answer(t); answer.Error != "" {
		t.Fatal(answer.Error)
	}
	pid, supervisor := postmasterPid(t, dir), supervisorOf(t, dir)
	parent.kill(t)
	// At once: while the first is still shutting down.
	checkKept(t, start(t, embeddedpg.Config{Dir: dir}))
	eventually(t, "Postgres and its supervisor are gone", func() bool { return !running(pid) && !running(supervisor) })
}

func TestServer_EndsWhenItsParentIsKilledAndNobodyStartsAnother(t *testing.T) {
	t.Parallel()
	dir := usedDir(t)
	parent := startHelper(t, executable(t), embeddedpg.Config{Dir: dir, Parameters: unsynced}, nil)
	if answer := parent.answer(t); answer.Error != "" {
		t.Fatal(answer.Error)
	}
	pid, supervisor := postmasterPid(t, dir), supervisorOf(t, dir)
	parent.kill(t)
	eventually(t, "Postgres and its supervisor are gone", func() bool { return !running(pid) && !running(supervisor) })
	if exists(filepath.Join(dir, "data", "postmaster.pid")) {
		t.Error("Postgres was killed, not shut down")
	}
}

func TestServer_EndsWhenItsParentIsKilledWhileItStarts(t *testing.T) {
	t.Parallel()
	for begun, newDir := range map[string]func(testing.TB) string{"tmp/data": newDir, "data/postmaster.pid": usedDir} {
		t.Run(begun, func(t *testing.T) {
			t.Parallel()
			dir := newDir(t)
			parent := startHelper(t, executable(t), embeddedpg.Config{Dir: dir, Parameters: unsynced}, nil)
			eventually(t, "it has begun", func() bool { return exists(filepath.Join(dir, begun)) })
			parent.kill(t)
			eventually(t, "nothing of it is left", func() bool {
				return !exists(filepath.Join(dir, "data", "postmaster.pid")) && !exists(filepath.Join(dir, "tmp")) && unlocked(t, dir)
			})
			ask(t, start(t, embeddedpg.Config{Dir: dir}).URL(), "select 1")
		})
	}
}

func TestServer_RecoversWhenItsSupervisorIsKilled(t *testing.T) {
	t.Parallel()
	dir := usedDir(t)
	first := start(t, embeddedpg.Config{Dir: dir})
	ask(t, first.URL(), "update kept set what = 'a row'")
	pid := postmasterPid(t, dir)
	if err := syscall.Kill(supervisorOf(t, dir), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-first.Done()
	checkKept(t, start(t, embeddedpg.Config{Dir: dir}))
	if running(pid) {
		t.Error("two of them run now")
	}
}

func TestServer_RecoversWhenPostgresIsKilled(t *testing.T) {
	t.Parallel()
	dir := usedDir(t)
	first := start(t, embeddedpg.Config{Dir: dir})
	if err := syscall.Kill(postmasterPid(t, dir), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-first.Done()
	checkKept(t, start(t, embeddedpg.Config{Dir: dir}))
}

// A Postgres that no supervisor looks after, as a killed one leaves behind where
// the kernel does not end it.
func TestStart_EndsAnOrphan(t *testing.T) {
	t.Parallel()
	dir := usedDir(t)
	stop(t, start(t, embeddedpg.Config{Dir: dir}))
	orphan := asServerUser(t, filepath.Join(binDir(t), "postgres"), "-D", filepath.Join(dir, "data"),
		"-p", strconv.Itoa(freePort(t)), "-c", "unix_socket_directories=", "-c", "listen_addresses=127.0.0.1")
	eventually(t, "the orphan runs", func() bool { return exists(filepath.Join(dir, "data", "postmaster.pid")) })
	checkKept(t, start(t, embeddedpg.Config{Dir: dir}))
	if err := orphan.Wait(); err != nil {
		t.Errorf("the orphan was not shut down: %v", err)
	}
}

func TestServer_OutlivesSignalsForItsGroup(t *testing.T) {
	t.Parallel()
	dir := usedDir(t)
	parent := startHelper(t, executable(t), embeddedpg.Config{Dir: dir, Parameters: unsynced}, nil)
	answer := parent.answer(t)
	if answer.Error != "" {
		t.Fatal(answer.Error)
	}
	supervisor := supervisorOf(t, dir)
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		// The group's, as a terminal sends them, and the supervisor's own, as
		// systemd does.
		for _, pid := range []int{-parent.Process.Pid, supervisor} {
			if err := syscall.Kill(pid, signal); err != nil {
				t.Fatal(err)
			}
		}
		for range 20 {
			if got := ask(t, answer.URL, "select what from kept"); got != "a row" {
				t.Fatal(got)
			}
		}
	}
	if group, err := syscall.Getpgid(supervisor); err != nil || group == parent.Process.Pid {
		t.Errorf("the supervisor is in its parent's process group (%v)", err)
	}
	if err := parent.stop(); err != nil {
		t.Errorf("it did not end in order: %v", err)
	}
	if running(supervisor) {
		t.Error("the parent ended before its supervisor")
	}
}

// unlocked tells whether no supervisor holds the data directory.
func unlocked(t testing.TB, dir string) bool {
	t.Helper()
	lock, err := os.Open(filepath.Join(dir, "onceql.lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	return syscall.Flock(int(lock.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == nil
}

// asServerUser starts a program as the user that runs Postgres, until the test's
// end at the latest.
func asServerUser(t testing.TB, program string, arguments ...string) *exec.Cmd {
	t.Helper()
	command := exec.Command(program, arguments...)
	command.Dir = "/"
	if os.Geteuid() == 0 {
		uid, gid := serverUser(t)
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	return command
}
