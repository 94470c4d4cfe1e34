package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"golang.org/x/sys/unix"
)

// containerVariable tells this program that it is to become a container, and which.
const containerVariable = "ONCEQL_TEST_CONTAINER"

// contained is what a container runtime makes of an image: a root of its own, which is
// read-only, the image's user without rights, and the image's entry point.
type contained struct {
	Root     string
	UID, GID int
	Dir      string
	Args     []string
	Env      []string
	// Apart: with mounts and processes of its own. Where that is not allowed, the root is
	// only as read-only as it is to the user.
	Apart bool
}

// enterContainer becomes the container that the environment tells of, if it does.
func enterContainer() {
	text := os.Getenv(containerVariable)
	if text == "" {
		return
	}
	var c contained
	err := json.Unmarshal([]byte(text), &c)
	if err == nil {
		err = c.enter()
	}
	fmt.Fprintln(os.Stderr, "entering the container:", err)
	os.Exit(125)
}

func (c contained) enter() error {
	runtime.LockOSThread()
	if c.Apart {
		if err := c.mount(); err != nil {
			return err
		}
	}
	if len(c.Args) == 0 { // It was to be found out whether this is allowed.
		os.Exit(0)
	}
	if err := errors.Join(syscall.Chroot(c.Root), syscall.Chdir(c.Dir)); err != nil {
		return err
	}
	for capability := 0; capability <= unix.CAP_LAST_CAP; capability++ { // cap_drop: ALL
		_ = unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(capability), 0, 0, 0)
	}
	if err := errors.Join(
		unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
		syscall.Setgroups(nil), syscall.Setgid(c.GID), syscall.Setuid(c.UID),
	); err != nil {
		return err
	}
	return syscall.Exec(c.Args[0], c.Args, c.Env)
}

// mount makes the root a read-only mount with a /proc in it.
func (c contained) mount() error {
	proc := filepath.Join(c.Root, "proc")
	const safe = unix.MS_NOSUID | unix.MS_NODEV
	return errors.Join(
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount(c.Root, c.Root, "", unix.MS_BIND|unix.MS_REC, ""),
		unix.Mount("proc", proc, "proc", safe|unix.MS_NOEXEC, ""),
		unix.Mount("", c.Root, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|safe, ""),
	)
}

// namespaces are those that a container has for itself, but for the network's.
const namespaces = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS

// mayUnshare says whether this machine lets a test have them, and mounts in them.
var mayUnshare = sync.OnceValue(func() bool {
	root := filepath.Join(built.dir, "probe")
	if os.MkdirAll(filepath.Join(root, "proc"), 0o755) != nil {
		return false
	}
	err := contained{Root: root, Apart: true}.command().Run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "containers share this machine's processes, and their roots are no read-only mounts, but read-only to their user:", err)
	}
	return err == nil
})

// command is this program, as what becomes the container.
func (c contained) command() *exec.Cmd {
	text, err := json.Marshal(c)
	if err != nil {
		panic(err) // Of texts and numbers.
	}
	command := exec.Command("/proc/self/exe")
	command.Env = []string{containerVariable + "=" + string(text)}
	if c.Apart {
		command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces}
	}
	return command
}

// An unpacked image is one whose layers are in a directory, in which it can be run.
type unpacked struct {
	root   string
	config v1.Config
}

// unpack writes the layers of the image into a new directory.
func unpack(t testing.TB, image v1.Image) unpacked {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("an image is run by root, which CI is")
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.MkdirTemp(builtDir(t), "root-")
	if err != nil {
		t.Fatal(err)
	}
	layers := mutate.Extract(image)
	defer layers.Close()
	if err := untar(layers, root); err != nil {
		t.Fatal(err)
	}
	// What a container runtime adds.
	if err := errors.Join(os.Mkdir(filepath.Join(root, "proc"), 0o555), os.Chmod(root, 0o755)); err != nil {
		t.Fatal(err)
	}
	return unpacked{root, config.Config}
}

func untar(archive io.Reader, root string) error {
	for reader := tar.NewReader(archive); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		path, mode := filepath.Join(root, header.Name), os.FileMode(header.Mode)
		switch header.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(path, mode)
		case tar.TypeReg:
			var content []byte
			if content, err = io.ReadAll(reader); err == nil {
				err = os.WriteFile(path, content, mode)
			}
		default:
			err = fmt.Errorf("%s is no file and no directory", header.Name)
		}
		if err = errors.Join(err, os.Chmod(path, mode), os.Chown(path, header.Uid, header.Gid)); err != nil {
			return err
		}
	}
}

// A process runs in a container.
type process struct {
	t      testing.TB
	cmd    *exec.Cmd
	output lockedBuffer
	ended  chan struct{}
}

// start runs the image with the arguments and what is added to its environment, as a
// container runtime does.
func (u unpacked) start(t testing.TB, env map[string]string, args ...string) *process {
	t.Helper()
	user, group, _ := strings.Cut(u.config.User, ":")
	uid, err := strconv.Atoi(user)
	if err != nil {
		t.Fatalf("the image's user is no number: %v", err)
	}
	gid, err := strconv.Atoi(group)
	if err != nil {
		t.Fatalf("the image's group is no number: %v", err)
	}
	c := contained{
		Root: u.root, UID: uid, GID: gid, Dir: u.config.WorkingDir,
		Args:  append(u.config.Entrypoint[:len(u.config.Entrypoint):len(u.config.Entrypoint)], args...),
		Apart: mayUnshare(),
	}
	all := map[string]string{}
	for _, variable := range u.config.Env {
		name, value, _ := strings.Cut(variable, "=")
		all[name] = value
	}
	maps.Copy(all, env)
	for name, value := range all {
		c.Env = append(c.Env, name+"="+value)
	}
	p := &process{t: t, cmd: c.command(), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
	})
	return p
}

// wait returns the exit code of a process that is about to end.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(testTimeout):
		p.t.Fatalf("the program does not end:\n%s", &p.output)
		return -1
	}
}

// ran is start and wait.
func (u unpacked) ran(t testing.TB, env map[string]string, args ...string) (code int, output string) {
	t.Helper()
	p := u.start(t, env, args...)
	code = p.wait()
	return code, p.output.String()
}

type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
