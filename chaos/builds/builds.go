// Package builds builds the programs that the drills run.
package builds

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Current builds the server of a clone as the program of that path. A program that is
// given is taken in its place.
func Current(clone, given, program string) error {
	if given != "" {
		return Link(given, program)
	}
	return build(clone, program)
}

// Link makes a program known under another name.
func Link(program, name string) error {
	program, err := filepath.Abs(program)
	if err != nil {
		return err
	}
	if _, err := os.Stat(program); err != nil {
		return err
	}
	return os.Symlink(program, name)
}

func build(sources, program string) error {
	command := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-o", program, ".")
	command.Dir, command.Env = sources, append(os.Environ(), "CGO_ENABLED=0")
	return quietly(command)
}

// Previous builds the commit that the clone's file previous-build names. Its sources stand
// in the directory work meanwhile.
func Previous(clone, work, program string) error {
	pinned, err := os.ReadFile(filepath.Join(clone, "previous-build"))
	if err != nil {
		return err
	}
	sources := filepath.Join(work, "sources")
	if err := os.Mkdir(sources, 0o700); err != nil {
		return err
	}
	// A clone may belong to another user.
	archive := exec.Command("git", "-c", "safe.directory=*", "archive", "--format=tar", "-o", sources+".tar", strings.TrimSpace(string(pinned)))
	archive.Dir = clone
	if err := quietly(archive); err != nil {
		return fmt.Errorf("the sources of the build before: is the whole history in this clone? %w", err)
	}
	if err := quietly(exec.Command("tar", "-x", "-f", sources+".tar", "-C", sources)); err != nil {
		return err
	}
	return errors.Join(build(sources, program), os.RemoveAll(sources), os.Remove(sources+".tar"))
}

func quietly(command *exec.Cmd) error {
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", command, err, output)
	}
	return nil
}
