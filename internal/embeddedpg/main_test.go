package embeddedpg_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"

	"github.com/onceql/onceql/internal/embeddedpg"
)

const (
	// helperMarker makes the test binary a program that runs an embedded Postgres
	// until its standard input ends. It holds the configuration as JSON.
	helperMarker = "EMBEDDEDPG_TEST_HELPER"
	// forgetfulMarker makes it one whose main forgot Supervise.
	forgetfulMarker = "EMBEDDEDPG_TEST_FORGETFUL"
)

func TestMain(m *testing.M) {
	if os.Getenv(forgetfulMarker) != "" {
		_, err := embeddedpg.Start(context.Background(), embeddedpg.Config{Dir: os.Getenv(forgetfulMarker)})
		fmt.Println(err)
		os.Exit(0)
	}
	embeddedpg.Supervise()
	if config := os.Getenv(helperMarker); config != "" {
		help(config)
	}
	remove, err := makeRoot()
	if err != nil {
		panic(err)
	}
	defer remove()
	// With the race detector a program sleeps for a second before it ends, each
	// supervisor of a server too.
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	m.Run()
}

// A helperAnswer is what a helper prints once Postgres runs, or does not.
type helperAnswer struct{ URL, Error string }

// help exits 0 when it was told to end, and 3 when Postgres ended before.
func help(config string) {
	// Not Ignore, which children inherit.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	var c embeddedpg.Config
	err := json.Unmarshal([]byte(config), &c)
	if err == nil {
		var embedded *embeddedpg.Server
		if embedded, err = embeddedpg.Start(context.Background(), c); err == nil {
			_ = json.NewEncoder(os.Stdout).Encode(helperAnswer{URL: embedded.URL()})
			ended := make(chan struct{})
			go func() {
				_, _ = io.Copy(io.Discard, os.Stdin)
				close(ended)
			}()
			select {
			case <-embedded.Done():
				os.Exit(3)
			case <-ended:
				_ = embedded.Stop(context.Background())
				os.Exit(0)
			}
		}
	}
	_ = json.NewEncoder(os.Stdout).Encode(helperAnswer{Error: err.Error()})
	os.Exit(1)
}

// A helper is a process of its own that runs an embedded Postgres.
type helper struct {
	*exec.Cmd
	stdin  io.Closer
	stdout *bufio.Reader
}

// startHelper starts one, as the user that credential names, in a process group
// of its own.
func startHelper(t testing.TB, program string, config embeddedpg.Config, credential *syscall.Credential, environment ...string) *helper {
	t.Helper()
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program)
	command.Dir = "/"
	command.Env = append(append(os.Environ(), environment...), helperMarker+"="+string(text))
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: credential}
	command.Stderr = os.Stderr
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	h := &helper{Cmd: command, stdin: stdin, stdout: bufio.NewReader(stdout)}
	t.Cleanup(func() { _ = h.stop() })
	return h
}

// answer waits until Postgres runs, or does not.
func (h *helper) answer(t testing.TB) helperAnswer {
	t.Helper()
	line, err := h.stdout.ReadBytes('\n')
	if err != nil {
		t.Fatalf("the helper said nothing: %v", err)
	}
	var answer helperAnswer
	if err := json.Unmarshal(line, &answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

// stop tells it to end, and returns how it did.
func (h *helper) stop() error {
	_ = h.stdin.Close()
	if err := h.Wait(); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// kill does what kill -9 does.
func (h *helper) kill(t testing.TB) {
	t.Helper()
	if err := h.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = h.Wait()
}

// executable is the test's own program.
func executable(t testing.TB) string {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return program
}
