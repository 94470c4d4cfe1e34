package db

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// handover is how long a start waits for a Postgres that is stopping already.
const handover = 30 * time.Second

func (s *supervisor) data() string { return filepath.Join(s.Dir, "data") }

// enterDir makes the directory, becomes the user that runs Postgres, and takes
// the lock.
func (s *supervisor) enterDir() error {
	// Its parents are nobody's secret; it is.
	if err := os.MkdirAll(filepath.Dir(s.Dir), 0o755); err != nil {
		return fmt.Errorf("making the data directory: %w", err)
	}
	if err := os.Mkdir(s.Dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("making the data directory: %w", err)
	}
	name := "you"
	if os.Geteuid() == 0 {
		var err error
		if name, err = s.becomeOrdinary(); err != nil {
			return err
		}
	}
	syscall.Umask(0o077)
	// Postgres's programs want a current directory that they may read.
	if err := os.Chdir(s.Dir); err != nil {
		return unusable(s.Dir, name, err)
	}
	if err := s.takeLock(); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return unusable(s.Dir, name, err)
		}
		return err
	}
	// The library leaves its files, Postgres's log, where it is told by this.
	return errors.Join(
		os.Setenv("TMPDIR", filepath.Join(s.Dir, "tmp")),
		os.Setenv("HOME", s.Dir),
		// Recovery after a crash, or a last checkpoint, may take its time.
		os.Setenv("PGCTLTIMEOUT", "300"),
	)
}

func unusable(dir, name string, err error) error {
	return fmt.Errorf("%s can't use the data directory %s, or one above it (%w): "+
		"set DATA_DIR to a directory that can be used, or DATABASE_URL to a database", name, dir, err)
}

// becomeOrdinary gives up root, for good, and returns the name of the user that
// this process is now.
func (s *supervisor) becomeOrdinary() (string, error) {
	uid, gid, name, err := s.owner()
	if err != nil {
		return "", err
	}
	// Only a directory that is empty is certainly ours to give away.
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return "", fmt.Errorf("reading the data directory: %w", err)
	}
	if len(entries) == 0 {
		if err := os.Chown(s.Dir, uid, gid); err != nil {
			return "", fmt.Errorf("giving the data directory to %s: %w", name, err)
		}
	}
	if err := syscall.Setgroups([]int{gid}); err != nil {
		return "", fmt.Errorf("leaving root's groups: %w", err)
	}
	if err := syscall.Setgid(gid); err != nil {
		return "", fmt.Errorf("leaving root's group: %w", err)
	}
	if err := syscall.Setuid(uid); err != nil {
		return "", fmt.Errorf("becoming %s: %w", name, err)
	}
	return "the user " + name, nil
}

// owner is the user that runs Postgres for root: who has run it here before, else
// postgres, else nobody.
func (s *supervisor) owner() (uid, gid int, name string, err error) {
	if info, err := os.Stat(filepath.Join(s.Dir, "lock")); err == nil {
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 {
			return int(stat.Uid), int(stat.Gid), "with id " + strconv.Itoa(int(stat.Uid)), nil
		}
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.Atoi(found.Uid)
		gid, gidErr := strconv.Atoi(found.Gid)
		if uidErr == nil && gidErr == nil {
			return uid, gid, name, nil
		}
	}
	return 0, 0, "", errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody: " +
		"make one, run as another user, or set DATABASE_URL to a database")
}

// takeLock makes the directory this process's own until it ends, or reports
// ErrDataDirInUse. Only a holder that says it is stopping is waited for.
func (s *supervisor) takeLock() error {
	lock, err := os.OpenFile(filepath.Join(s.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("opening the data directory's lock: %w", err)
	}
	s.lock = lock
	for deadline := time.Now().Add(handover); ; time.Sleep(20 * time.Millisecond) {
		err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			s.note("process " + strconv.Itoa(os.Getppid()))
			return nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("locking the data directory: %w", err)
		}
		text, _ := os.ReadFile(lock.Name())
		holder := strings.TrimSpace(string(text))
		if holder != "stopping" || time.Now().After(deadline) {
			return fmt.Errorf("%w: %s runs a Postgres on %s; end it, or set DATA_DIR to another directory",
				ErrDataDirInUse, who(holder), s.Dir)
		}
	}
}

func who(holder string) string {
	if !strings.HasPrefix(holder, "process ") {
		return "another process"
	}
	return holder
}

// note writes into the lock what its holder is about: at one length, so that
// nobody reads half of it.
func (s *supervisor) note(text string) {
	_, _ = fmt.Fprintf(io.NewOffsetWriter(s.lock, 0), "%-31s\n", text)
}

// clearTemporary removes the logs of earlier runs, and what an initdb or a fetch
// that was cut short left. None of it was ever data.
func (s *supervisor) clearTemporary() error {
	tmp := filepath.Join(s.Dir, "tmp")
	if err := errors.Join(os.RemoveAll(tmp), os.Mkdir(tmp, 0o700)); err != nil {
		return fmt.Errorf("clearing the temporary files: %w", err)
	}
	return nil
}

// initialise makes the data beside its place first, so that half of it is never
// taken for data.
func (s *supervisor) initialise(binaries binaries, password string) error {
	fresh, file := filepath.Join(s.Dir, "tmp", "data"), filepath.Join(s.Dir, "password")
	err := command(binaries.program("initdb"), "-D", fresh, "-U", "postgres", "--pwfile", file,
		"--auth=scram-sha-256", "--locale=C", "--encoding=UTF8")
	if err != nil {
		return fmt.Errorf("initialising the data: %w", err)
	}
	if err := os.Rename(fresh, s.data()); err != nil {
		return fmt.Errorf("moving the new data into place: %w", err)
	}
	return nil
}

// password is the superuser's: made once, before the data, and kept beside it.
func (s *supervisor) password(mayMake bool) (string, error) {
	path := filepath.Join(s.Dir, "password")
	text, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(text)), nil
	}
	if !mayMake || !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading the superuser's password: %w", err)
	}
	password := rand.Text()
	err = os.WriteFile(path+".new", []byte(password), 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return "", fmt.Errorf("keeping the superuser's password: %w", err)
	}
	return password, nil
}

// command runs a program of Postgres; the error has what it said.
func command(program string, args ...string) error {
	output, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(program), err, strings.TrimSpace(string(output)))
	}
	return nil
}
