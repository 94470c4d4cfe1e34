package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Process is a program that was started, with whatever it starts.
type Process struct {
	command *exec.Cmd
	done    chan struct{}
}

// Start starts a program. Its output goes to log, when that is not nil.
func Start(log *os.File, env []string, as *syscall.Credential, name string, args ...string) (*Process, error) {
	command := exec.Command(name, args...)
	command.Env = append(os.Environ(), env...)
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: as}
	command.Dir = "/"
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	p := &Process{command: command, done: make(chan struct{})}
	go func() {
		_ = command.Wait()
		close(p.done)
	}()
	return p, nil
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Running says whether the program runs, frozen or not.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Signal sends the program alone a signal.
func (p *Process) Signal(signal syscall.Signal) { _ = p.command.Process.Signal(signal) }

// Kill ends the program and its children as kill -9 does, and waits until they are gone.
func (p *Process) Kill() {
	p.Signal(syscall.SIGSTOP) // It starts no more of them.
	pids := children(p.command.Process.Pid)
	p.Signal(syscall.SIGKILL)
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	<-p.done
	for _, pid := range pids {
		for exists(pid) {
			time.Sleep(time.Millisecond)
		}
	}
}

// Freeze stops the program and its children until Thaw.
func (p *Process) Freeze() { p.all(syscall.SIGSTOP) }

// Thaw lets them go on.
func (p *Process) Thaw() { p.all(syscall.SIGCONT) }

func (p *Process) all(signal syscall.Signal) {
	p.Signal(signal)
	for _, pid := range children(p.command.Process.Pid) {
		_ = syscall.Kill(pid, signal)
	}
}

// Stop asks the program to end by the signal, kills it when it takes longer, and waits
// for its end.
func (p *Process) Stop(signal syscall.Signal, patience time.Duration) {
	p.Signal(signal)
	select {
	case <-p.done:
	case <-time.After(patience):
		p.Kill()
	}
}

func exists(pid int) bool {
	_, err := os.Stat("/proc/" + strconv.Itoa(pid))
	return err == nil
}

// children are the processes whose parent has that id.
func children(parent int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var found []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		stat, _ := os.ReadFile("/proc/" + entry.Name() + "/stat")
		// "pid (name) state parent …"; the name may hold anything.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			found = append(found, pid)
		}
	}
	return found
}
