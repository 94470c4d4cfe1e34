// Package sandbox runs this program in namespaces of its own: processes, mounts,
// loopback interface, shared memory. Nothing that it starts outlives it, however it
// ends, no port of it can be taken by anyone else, and a full disk is its own alone.
//
//	func main() {
//		sandbox.Init() // First: the program is also the sandbox's first process.
//		if !sandbox.Inside() {
//			os.Exit(sandbox.Run(map[string]string{dir: "size=400m"}))
//		}
//		…
//	}
//
// It needs root, or a kernel that gives namespaces to other users.
package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// stageMarker is the environment variable that says which process of the three this
// is: none outside, then the first one inside, then the program itself.
const (
	stageMarker  = "ONCEQL_CHAOS_STAGE"
	mountsMarker = "ONCEQL_CHAOS_MOUNTS"
	stageFirst   = "first"
	stageInside  = "inside"
)

// Inside says whether this is the program in its sandbox.
func Inside() bool { return os.Getenv(stageMarker) == stageInside }

// Run runs this program again in a sandbox and returns its exit status. Each directory
// of filesystems gets a file system in memory with those mount options, which
// Unprivileged's user owns.
func Run(filesystems map[string]string) int {
	// The first process dies with the thread that starts it.
	runtime.LockOSThread()
	mounts, err := json.Marshal(filesystems)
	if err != nil {
		return failed(err)
	}
	attributes := &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
	}
	if os.Geteuid() != 0 {
		attributes.Cloneflags |= syscall.CLONE_NEWUSER
		attributes.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}}
		attributes.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}}
		attributes.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN}
	}
	status, err := again(stageFirst, attributes, mountsMarker+"="+string(mounts))
	if err != nil {
		return failed(fmt.Errorf("no namespaces of its own (it needs root, or user namespaces): %w", err))
	}
	return status
}

// Init must be the first call of main. In the first process of a sandbox it never
// returns; anywhere else it does nothing.
func Init() {
	if os.Getenv(stageMarker) != stageFirst {
		return
	}
	if err := prepare(); err != nil {
		os.Exit(failed(fmt.Errorf("preparing the sandbox: %w", err)))
	}
	command := program(stageInside, nil)
	if err := command.Start(); err != nil {
		os.Exit(failed(err))
	}
	// Whatever is orphaned in here is this process's to collect.
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			os.Exit(failed(err))
		case pid == command.Process.Pid && status.Exited():
			os.Exit(status.ExitStatus())
		case pid == command.Process.Pid && status.Signaled():
			os.Exit(128 + int(status.Signal()))
		}
	}
}

func prepare() error {
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keeping mounts to itself: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	if err := unix.Mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=512m,mode=1777"); err != nil {
		return fmt.Errorf("mounting /dev/shm: %w", err)
	}
	var filesystems map[string]string
	if err := json.Unmarshal([]byte(os.Getenv(mountsMarker)), &filesystems); err != nil {
		return err
	}
	owner, err := Unprivileged()
	if err != nil {
		return err
	}
	for dir, options := range filesystems {
		options += fmt.Sprintf(",mode=0700,uid=%d,gid=%d", owner.Uid, owner.Gid)
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
			return fmt.Errorf("mounting %s: %w", filepath.Base(dir), err)
		}
	}
	return loopbackUp()
}

// loopbackUp makes 127.0.0.1 usable.
func loopbackUp() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(socket) }()
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request)
}

// Unprivileged is whom PostgreSQL and pgbouncer run as, which refuse root: postgres for
// root, and else this user.
func Unprivileged() (*syscall.Credential, error) {
	if uid := os.Geteuid(); uid != 0 {
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(os.Getegid()), NoSetGroups: true}, nil
	}
	found, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(found.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(found.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
}

func again(stage string, attributes *syscall.SysProcAttr, env ...string) (status int, err error) {
	command := program(stage, attributes, env...)
	// All that is in there ends with its first process; then the caller cleans up.
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(ended)
	if err := command.Start(); err != nil {
		return 0, err
	}
	go func() {
		<-ended
		_ = command.Process.Kill()
	}()
	err = command.Wait()
	var exited *exec.ExitError
	if errors.As(err, &exited) {
		return max(1, exited.ExitCode()), nil
	}
	return 0, err
}

// program is this program, to be run in the stage.
func program(stage string, attributes *syscall.SysProcAttr, env ...string) *exec.Cmd {
	command := exec.Command("/proc/self/exe", os.Args[1:]...) //nolint:gosec // This program, with its own arguments.
	command.Env = append(append(os.Environ(), stageMarker+"="+stage), env...)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	command.SysProcAttr = attributes
	return command
}

func failed(err error) int {
	fmt.Fprintln(os.Stderr, "chaos:", err)
	return 1
}
