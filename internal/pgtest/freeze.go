package pgtest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// Freeze stops every process of the server in its tracks: it takes TCP connections, as
// the kernel does for it, and never answers. Thaw, which is called after the test at the
// latest, lets it go on.
func (s *Server) Freeze(t testing.TB) (thaw func()) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.home(), "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := bytes.Cut(text, []byte("\n"))
	postmaster, err := strconv.Atoi(string(first))
	if err != nil {
		t.Fatal(err)
	}
	// The postmaster first: then no new ones come.
	frozen := []int{postmaster}
	signal := func(pid int, signal syscall.Signal) {
		if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d: %v", pid, err)
		}
	}
	signal(postmaster, syscall.SIGSTOP)
	for _, pid := range children(t, postmaster) {
		signal(pid, syscall.SIGSTOP)
		frozen = append(frozen, pid)
	}
	thaw = func() {
		for _, pid := range frozen {
			signal(pid, syscall.SIGCONT)
		}
		frozen = nil
	}
	t.Cleanup(thaw)
	return thaw
}

// children are the processes that the process has started, as Linux knows them.
func children(t testing.TB, of int) (pids []int) {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // It ended.
		}
		// The name, which may have anything in it, is in parentheses.
		var state string
		var parent int
		if _, err := fmt.Sscan(string(text[bytes.LastIndexByte(text, ')')+1:]), &state, &parent); err != nil || parent != of {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}
