package embeddedpg

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// handover is how long a start waits for a Postgres that is stopping already.
const handover = 30 * time.Second

// enterDir makes the directory, and becomes the user that runs Postgres in it.
func (s *supervisor) enterDir() error {
	if err := os.MkdirAll(filepath.Dir(s.Dir), 0o755); err != nil { //nolint:gosec // Its parents are nobody's secret; it is.
		return s.unusable(err)
	}
	if err := os.Mkdir(s.Dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return s.unusable(err)
	}
	if info, err := os.Stat(s.Dir); err != nil {
		return s.unusable(err)
	} else if info.Mode().Perm()&0o002 != 0 {
		return fmt.Errorf("everyone may write into %s: take that right away (chmod o-w), "+
			"or set DATA_DIR to another directory, or DATABASE_URL to a database", s.Dir)
	}
	if os.Geteuid() == 0 {
		if err := s.becomeOrdinary(); err != nil {
			return err
		}
	}
	syscall.Umask(0o077)
	// Postgres's programs want a current directory that they may read.
	if err := os.Chdir(s.Dir); err != nil {
		return s.unusable(err)
	}
	files, err := s.files()
	if err != nil {
		return s.unusable(err)
	}
	if len(files) > 0 && !slices.Contains(files, filepath.Base(s.lockFile())) {
		return fmt.Errorf("%s holds something that is not PostgreSQL's: "+
			"set DATA_DIR to a new or empty directory, or DATABASE_URL to a database", s.Dir)
	}
	// What the library leaves behind goes where it is cleared.
	return errors.Join(os.Setenv("TMPDIR", s.temporary()), os.Setenv("HOME", s.Dir))
}

func (s *supervisor) unusable(err error) error {
	who := "you"
	if s.user != "" {
		who = "the user " + s.user
	}
	return fmt.Errorf("%s can't use the data directory %s, or one above it (%w): "+
		"set DATA_DIR to a directory that can be used, or DATABASE_URL to a database", who, s.Dir, err)
}

// files lists what is in the directory, but for what a file system of its own
// begins with.
func (s *supervisor) files() ([]string, error) {
	entries, err := os.ReadDir(s.Dir)
	var names []string
	for _, entry := range entries {
		if entry.Name() != "lost+found" {
			names = append(names, entry.Name())
		}
	}
	return names, err
}

// becomeOrdinary gives up root, for good.
func (s *supervisor) becomeOrdinary() error {
	uid, gid, name, err := s.owner()
	if err != nil {
		return err
	}
	files, err := s.files()
	if err != nil {
		return s.unusable(err)
	}
	// Only a directory that is empty is certainly ours to give away.
	if len(files) == 0 {
		err = os.Chown(s.Dir, uid, gid)
	}
	if err == nil {
		err = syscall.Setgroups([]int{gid})
	}
	if err == nil {
		err = syscall.Setgid(gid)
	}
	if err == nil {
		err = syscall.Setuid(uid)
	}
	if err != nil {
		return fmt.Errorf("PostgreSQL does not run as root, and giving up root for the user %s failed (%w): "+
			"run as another user, or set DATABASE_URL to a database", name, err)
	}
	s.user = name
	return nil
}

// owner is the user that runs Postgres for root: who has run it here before, else
// the first of Users that there is.
func (s *supervisor) owner() (uid, gid int, name string, err error) {
	if info, err := os.Lstat(s.lockFile()); err == nil {
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 {
			return int(stat.Uid), int(stat.Gid), "with id " + strconv.Itoa(int(stat.Uid)), nil
		}
	}
	names := s.Users
	if names == nil {
		names = []string{"postgres", "nobody"}
	}
	for _, name := range names {
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
	return 0, 0, "", fmt.Errorf("PostgreSQL does not run as root, and there is no user %s: "+
		"make one, run as another user, or set DATABASE_URL to a database", strings.Join(names, " or "))
}

// takeLock makes the directory this process's own until it ends, or reports
// ErrDataDirInUse. A holder that is stopping, or whose parent has died, so that it
// soon is, is waited for.
func (s *supervisor) takeLock(ctx context.Context) error {
	lock, err := os.OpenFile(s.lockFile(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return s.unusable(err)
	}
	s.lock = lock
	for deadline := time.Now().Add(handover); ; time.Sleep(pollEvery) {
		err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			s.note(strconv.Itoa(os.Getppid()))
			context.AfterFunc(ctx, func() { s.note("stopping") })
			return nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("locking the data directory: %w", err)
		}
		text, _ := os.ReadFile(lock.Name())
		holder := strings.TrimSpace(string(text))
		pid, err := strconv.Atoi(holder)
		ending := err != nil || !alive(pid)
		if !ending || time.Now().After(deadline) || ctx.Err() != nil {
			who := "another process"
			if err == nil {
				who = "process " + holder
			}
			return fmt.Errorf("%w: %s runs a Postgres on %s; end it, or set DATA_DIR to another directory", ErrDataDirInUse, who, s.Dir)
		}
	}
}

// note writes into the lock whose it is, by the process that asked for Postgres,
// or that it is stopping: at one length, so that nobody reads half of it.
func (s *supervisor) note(text string) {
	_, _ = fmt.Fprintf(io.NewOffsetWriter(s.lock, 0), "%-15s\n", text)
}

// clearTemporary removes what an initdb or a fetch that was cut short left. None
// of it was ever data.
func (s *supervisor) clearTemporary() error {
	if err := errors.Join(os.RemoveAll(s.temporary()), os.Mkdir(s.temporary(), 0o700)); err != nil {
		return fmt.Errorf("clearing the temporary files: %w", err)
	}
	return nil
}

// password is the superuser's: made once, before the data, and kept beside it.
func (s *supervisor) password(mayMake bool) (string, error) {
	text, err := os.ReadFile(s.passwordFile())
	if err == nil {
		return strings.TrimSpace(string(text)), nil
	}
	if !mayMake || !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading the superuser's password: %w", err)
	}
	password, fresh := rand.Text(), filepath.Join(s.temporary(), "password")
	err = os.WriteFile(fresh, []byte(password), 0o600)
	if err == nil {
		err = os.Rename(fresh, s.passwordFile())
	}
	if err != nil {
		return "", fmt.Errorf("keeping the superuser's password: %w", err)
	}
	return password, nil
}

// initialise makes the data beside its place first, so that half of it is never
// taken for data.
func (s *supervisor) initialise(ctx context.Context, binaries binaries) error {
	fresh := filepath.Join(s.temporary(), "data")
	arguments := []string{
		"-D", fresh, "-U", "postgres", "--pwfile", s.passwordFile(), "--auth=scram-sha-256", "--locale=C", "--encoding=UTF8",
	}
	if s.Parameters["fsync"] == "off" { // Then the rest need not reach the disk either.
		arguments = append(arguments, "--no-sync")
	}
	initdb := exec.CommandContext(ctx, binaries.program("initdb"), arguments...)
	initdb.Env = environment(postgresVariables)
	if output, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initialising the data: initdb: %w: %s", err, strings.TrimSpace(string(output)))
	}
	if err := os.Rename(fresh, s.data()); err != nil {
		return fmt.Errorf("moving the new data into place: %w", err)
	}
	return nil
}
