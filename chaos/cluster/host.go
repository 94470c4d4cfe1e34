package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"github.com/onceql/onceql/chaos/sandbox"
)

// startTimeout bounds a start, with the recovery after a crash.
const startTimeout = 30 * time.Second

// A Host is one of the two on which a PostgreSQL runs. It has a disk and a clock of its
// own.
type Host struct {
	Name string
	Port int
	// programs is the directory of PostgreSQL's.
	programs string
	// dir is the disk, a small file system of its own; the files beside it are the
	// host's clock and PostgreSQL's log.
	dir, clock, log string
	as              *syscall.Credential
	process         *sandbox.Process
}

func newHost(work, name, programs string, port int, as *syscall.Credential) (*Host, error) {
	h := &Host{
		Name: name, Port: port, programs: programs, as: as,
		dir: filepath.Join(work, name), clock: filepath.Join(work, name+".clock"), log: filepath.Join(work, name+".log"),
	}
	return h, h.ShiftClock(0)
}

func (h *Host) data() string   { return filepath.Join(h.dir, "data") }
func (h *Host) filler() string { return filepath.Join(h.dir, "filler") }

// URL is where the superuser reaches the database of that name on this host.
func (h *Host) URL(database string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable&connect_timeout=2", h.Port, database)
}

// ShiftClock makes PostgreSQL's clock differ from the machine's by that, within a second
// or two.
func (h *Host) ShiftClock(by time.Duration) error {
	// In one step: it is read at any time.
	next := h.clock + ".next"
	if err := os.WriteFile(next, fmt.Appendf(nil, "%+d\n", int(by.Seconds())), 0o644); err != nil { //nolint:gosec // PostgreSQL's user reads it.
		return err
	}
	return os.Rename(next, h.clock)
}

// fakeTime is the library that shifts a program's clock (Debian: libfaketime).
func fakeTime() (string, error) {
	found, _ := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1")
	if len(found) == 0 {
		return "", errors.New("libfaketime is not installed")
	}
	return found[0], nil
}

// run runs one of PostgreSQL's programs to its end.
func (h *Host) run(ctx context.Context, program string, args ...string) error {
	command := exec.CommandContext(ctx, filepath.Join(h.programs, program), args...)
	command.SysProcAttr = &syscall.SysProcAttr{Credential: h.as}
	command.Dir = "/"
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s on host %s: %w\n%s", program, h.Name, err, output)
	}
	return nil
}

// launch starts PostgreSQL and waits until it answers.
func (h *Host) launch(ctx context.Context, parameters map[string]string) error {
	library, err := fakeTime()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(h.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644) //nolint:gosec // It holds test data.
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	args := []string{"-D", h.data(), "-p", strconv.Itoa(h.Port)}
	for name, value := range parameters {
		args = append(args, "-c", name+"="+value)
	}
	env := []string{
		"LD_PRELOAD=" + library, "FAKETIME_TIMESTAMP_FILE=" + h.clock, "FAKETIME_CACHE_DURATION=1",
		"FAKETIME_DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1",
	}
	h.process, err = sandbox.Start(log, env, h.as, filepath.Join(h.programs, "postgres"), args...)
	if err != nil {
		return err
	}
	return h.await(ctx)
}

func (h *Host) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, h.URL("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-h.process.Done():
			return fmt.Errorf("PostgreSQL on host %s ended: %w", h.Name, err)
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL on host %s does not answer: %w", h.Name, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Freeze stops all processes of PostgreSQL until Thaw.
func (h *Host) Freeze() { h.process.Freeze() }

// Thaw lets them go on.
func (h *Host) Thaw() { h.process.Thaw() }

// Kill ends PostgreSQL as kill -9 of all its processes does.
func (h *Host) Kill() { h.process.Kill() }

// FillDisk leaves no space on the host's disk, until FreeDisk.
func (h *Host) FillDisk() error {
	file, err := os.Create(h.filler())
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	size := int64(0)
	for _, piece := range []int64{16 << 20, 1 << 20, 64 << 10, 4 << 10} {
		for err = error(nil); err == nil; size += piece {
			err = unix.Fallocate(int(file.Fd()), 0, size, piece)
		}
		size -= piece // The one that there was no space for.
		if !errors.Is(err, unix.ENOSPC) {
			return err
		}
	}
	return nil
}

// FreeDisk undoes FillDisk.
func (h *Host) FreeDisk() error { return os.Remove(h.filler()) }
