package embeddedpg

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Running returns the address of the database, with the superuser's password, that a
// Server of another process runs on the directory; empty means DefaultDataDir. It is
// ErrNotRunning when none does, and ErrNoData when none ever did. Only root, and the user
// whose the directory is, can read it.
func Running(dir string) (string, error) {
	dir, err := filepath.Abs(cmp.Or(dir, DefaultDataDir()))
	if err != nil {
		return "", err
	}
	s := supervisor{Config: Config{Dir: dir}}
	if _, err := os.Stat(filepath.Join(s.data(), "PG_VERSION")); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w of an embedded PostgreSQL in %s", ErrNoData, dir)
	} else if err != nil {
		return "", fmt.Errorf("reading the data directory: %w", err)
	}
	password, err := os.ReadFile(s.passwordFile())
	if err != nil {
		return "", fmt.Errorf("reading the superuser's password: %w", err)
	}
	// The number of a process that crashed may be another's now, which is not in the data.
	file := readPidFile(s.data())
	ours, known := worksIn(file.pid, s.data())
	if !file.ready || !alive(file.pid) || known && !ours || !answers(file.port) {
		return "", fmt.Errorf("%w on %s", ErrNotRunning, dir)
	}
	return connectionURL(file.port, strings.TrimSpace(string(password))), nil
}
