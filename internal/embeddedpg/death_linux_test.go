package embeddedpg_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/onceql/onceql/internal/embeddedpg"
)

// After a crash of a container the numbers of processes begin again, and the
// Postgres that was is now another process of the same user.
func TestStart_IsNotMisledByAPidFile(t *testing.T) {
	t.Parallel()
	dir := usedDir(t)
	other := asServerUser(t, "sleep", "300")
	text := fmt.Sprintf("%d\n%s\n1700000000\n%d\n\n127.0.0.1\n  1234567    123456\nready   \n",
		other.Process.Pid, filepath.Join(dir, "data"), freePort(t))
	fill(t, dir, map[string]string{"data/postmaster.pid": text})
	checkKept(t, start(t, embeddedpg.Config{Dir: dir}))
	if !running(other.Process.Pid) {
		t.Error("it ended a process that is not Postgres")
	}
}

// The kernel ends a Postgres whose supervisor was killed.
func TestServer_EndsWithItsSupervisor(t *testing.T) {
	t.Parallel()
	dir := usedDir(t)
	parent := startHelper(t, executable(t), embeddedpg.Config{Dir: dir, Parameters: unsynced}, nil)
	if answer := parent.answer(t); answer.Error != "" {
		t.Fatal(answer.Error)
	}
	pid, supervisor := postmasterPid(t, dir), supervisorOf(t, dir)
	// The supervisor can't act on its parent's death: it is stopped.
	for _, signal := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} {
		if err := syscall.Kill(supervisor, signal); err != nil {
			t.Fatal(err)
		}
		if signal == syscall.SIGSTOP {
			parent.kill(t)
		}
	}
	eventually(t, "Postgres is gone", func() bool { return !running(pid) })
	if _, err := os.Stat(filepath.Join(dir, "data", "postmaster.pid")); !os.IsNotExist(err) {
		t.Errorf("Postgres was not shut down in order (%v)", err)
	}
}
