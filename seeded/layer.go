package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The layers, from fast and exhaustive to slow and real.
const (
	simulation = "simulation"
	model      = "model"
	chaos      = "chaos"
)

// A layer is one that may find a bug.
type layer struct {
	name string
	// dir is where its command runs, in the tree.
	dir string
	// command is what it runs for the bug; nil when the layer does not have the bug.
	command func(b bug) []string
	// violation is the line with which it tells of one.
	violation *regexp.Regexp
	limit     time.Duration
	// goes says that it ends by itself once it has told of one; else it is ended.
	goes bool
}

func layersOf(o options) []layer {
	return []layer{
		{
			name: simulation, dir: ".", violation: regexp.MustCompile(`violation with seed .*`), limit: 10 * time.Minute,
			command: func(bug) []string {
				return []string{"go", "test", "-v", "-count=1", "-run", "^TestSeeds$", "./idempotency/internal/sim/world", "-seeds", strconv.Itoa(o.seeds)}
			},
		},
		{
			name: model, dir: ".", violation: regexp.MustCompile(`assertion violated.*|VIOLATION.*`), limit: 10 * time.Minute,
			command: func(b bug) []string {
				if b.mutation == "" {
					return nil
				}
				return []string{"docs/model/run", b.mutation}
			},
		},
		{
			name: chaos, dir: "chaos", violation: regexp.MustCompile(`VIOLATION .*`), limit: o.chaos + 4*time.Minute, goes: true,
			command: func(bug) []string {
				return []string{"go", "run", ".", "-until-violation", "-seed", "1", "-previous", "none", "-epoch", "30s", "-for", o.chaos.String()}
			},
		},
	}
}

// A result is what a layer made of a bug.
type result struct {
	layer string
	ran   bool
	took  time.Duration
	// violation is what it told of; empty when it found nothing.
	violation string
}

func (r result) String() string {
	switch {
	case !r.ran:
		return fmt.Sprintf("%-10s does not have it", r.layer)
	case r.violation == "":
		return fmt.Sprintf("%-10s found nothing in %.1f s", r.layer, r.took.Seconds())
	}
	return fmt.Sprintf("%-10s found it after %.1f s: %s", r.layer, r.took.Seconds(), r.violation)
}

// errNothingFound reports a layer that failed, or took too long, without a violation.
var errNothingFound = errors.New("it failed without a violation")

// on runs the layer on a tree that has the bug, until it tells of a violation.
func (l layer) on(ctx context.Context, o options, tree string, b bug) (result, error) {
	arguments := l.command(b)
	if arguments == nil {
		return result{layer: l.name}, nil
	}
	limited, cancel := context.WithTimeout(ctx, l.limit)
	defer cancel()
	command := exec.CommandContext(limited, arguments[0], arguments[1:]...)
	command.Dir, command.Env = filepath.Join(tree, l.dir), append(os.Environ(), "TMPDIR="+filepath.Join(tree, temporary))
	// Whatever the layer started ends with it.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGTERM) }
	command.WaitDelay = 20 * time.Second
	reader, writer := io.Pipe()
	command.Stdout, command.Stderr = writer, writer
	start := time.Now()
	if err := command.Start(); err != nil {
		return result{}, fmt.Errorf("%s: %w", l.name, err)
	}
	ended := make(chan error, 1)
	go func() {
		err := command.Wait()
		_ = writer.Close()
		ended <- err
	}()
	r := result{layer: l.name, ran: true}
	said := new(strings.Builder)
	lines := bufio.NewReader(reader)
	for {
		line, err := lines.ReadString('\n')
		said.WriteString(line)
		if found := l.violation.FindString(line); found != "" && r.violation == "" {
			r.violation, r.took = found, time.Since(start)
			if !l.goes {
				cancel()
			}
		}
		if err != nil {
			break
		}
	}
	err := <-ended
	if r.violation == "" {
		r.took = time.Since(start)
	}
	if kept := keep(o.logs, b.name+"-"+l.name+".log", said.String()); kept != nil {
		return r, kept
	}
	if err != nil && r.violation == "" {
		return r, fmt.Errorf("%s: %w: %w\n%s", l.name, errNothingFound, err, tail(said.String()))
	}
	return r, nil
}

// isSound makes sure that the layer finds nothing where there is no bug.
func (l layer) isSound(ctx context.Context, o options, tree string) error {
	r, err := l.on(ctx, o, tree, none)
	if err != nil {
		return fmt.Errorf("without a bug: %w", err)
	}
	if r.violation != "" {
		return fmt.Errorf("without a bug: %s", r)
	}
	return nil
}

func keep(dir, name, text string) error {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // It holds test data.
		return err
	}
	return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)
}

// tail is the end of a text.
func tail(text string) string {
	const most = 4000
	return text[max(0, len(text)-most):]
}
