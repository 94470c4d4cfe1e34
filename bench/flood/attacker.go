package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/onceql/onceql/bench/load"
)

const (
	attackCommand = "attack"
	// niceness is the attacker's, which has one processor besides.
	niceness = "10"
	// patience is how long an attacker waits for one answer.
	patience = 30 * time.Second
	// mostRequests bounds an attack on time.
	mostRequests = 2_000_000
)

// What the attacker hears.
const (
	heardAnswer  = iota // Status 200 without errors.
	heardErrors         // GraphQL's errors.
	heardRefusal        // Any other status.
	heardEnd            // The connection's end.
	heardNothing        // What it has sent or taken a part of.
	kindsHeard
)

// counts are how often an attacker heard what, by the constants above, and the bytes of
// the bodies that it sent.
type counts struct {
	Heard [kindsHeard]int64
	Bytes int64
}

func (c *counts) add(other counts) {
	for i, n := range other.Heard {
		c.Heard[i] += n
	}
	c.Bytes += other.Bytes
}

func (c *counts) String() string {
	var parts []string
	for i, what := range [...]string{"answered", "errors", "refused", "cut", "parts"} {
		if n := c.Heard[i]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, what))
		}
	}
	if c.Bytes > 0 {
		parts = append(parts, fmt.Sprintf("%d MB of bodies", c.Bytes/1_000_000))
	}
	return strings.Join(parts, ", ")
}

// An attacker sends one attack.
type attacker struct {
	*attack
	address, path string
	header        []byte

	next   atomic.Int64
	start  time.Time
	heards [kindsHeard]atomic.Int64
	bytes  atomic.Int64
	over   chan struct{}
}

func (a *attacker) count(what int) { a.heards[what].Add(1) }

// heard counts an answer to a body of so many bytes.
func (a *attacker) heard(status int, answer []byte, size int) {
	a.bytes.Add(int64(size))
	switch {
	case bytes.Contains(answer, []byte(`"errors"`)):
		a.count(heardErrors)
	case status == 200:
		a.count(heardAnswer)
	default:
		a.count(heardRefusal)
	}
}

// runAttacker is the process of an attack: it ends with its standard input, or when it
// has sent what it was told to. The token comes in the environment.
func runAttacker(arguments []string) error {
	flags := flag.NewFlagSet(attackCommand, flag.ContinueOnError)
	address := flags.String("address", "", "")
	path := flags.String("path", "", "")
	name := flags.String("name", "", "")
	total := flags.Int64("bytes", 0, "")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	a := &attacker{
		address: *address, path: *path, start: time.Now(), over: make(chan struct{}),
		header: []byte("Authorization: Bearer " + os.Getenv("FLOOD_TOKEN") + "\r\n"),
	}
	for _, known := range attacks {
		if known.name == *name {
			a.attack = known
		}
	}
	if a.attack == nil {
		return fmt.Errorf("there is no attack of the name %q", *name)
	}
	if a.send == nil {
		a.send = ask
	}
	sent := make(chan struct{})
	var sending sync.WaitGroup
	for range a.connections {
		sending.Go(func() { a.connect(*total) })
	}
	go func() { sending.Wait(); close(sent) }()
	told := make(chan struct{})
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); close(told) }()
	select {
	case <-sent:
	case <-told: // The connections end with the process.
	}
	c := counts{Bytes: a.bytes.Load()}
	for i := range c.Heard {
		c.Heard[i] = a.heards[i].Load()
	}
	return json.NewEncoder(os.Stdout).Encode(c)
}

// connect sends on one connection, and on another where it is cut.
func (a *attacker) connect(total int64) {
	var c *load.Client
	for {
		n := int(a.next.Add(1)) - 1
		if n >= mostRequests || total > 0 && a.bytes.Load() >= total {
			return
		}
		if a.perSecond > 0 {
			time.Sleep(time.Until(a.start.Add(time.Duration(n) * time.Second / time.Duration(a.perSecond))))
		}
		var err error
		if c == nil {
			if c, err = load.Dial(a.address, a.path); err != nil {
				c = nil
			}
		}
		if err == nil {
			err = errors.Join(c.Conn().SetDeadline(time.Now().Add(patience)), a.send(a, c, n))
		}
		if err == nil {
			continue
		}
		if c != nil {
			c.Close()
			c = nil
		}
		if !errors.Is(err, io.EOF) {
			a.count(heardEnd)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// A process is an attacker's.
type process struct {
	command *exec.Cmd
	input   io.Closer
	output  bytes.Buffer
	ended   chan struct{}
	err     error
}

// startAttacker starts one that sends so many bytes, or goes on until it is stopped.
func startAttacker(ctx context.Context, a *attack, address, path, token string, total int64) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{ended: make(chan struct{})}
	p.command = exec.CommandContext(ctx, "nice", "-n", niceness, self, attackCommand,
		"-address", address, "-path", path, "-name", a.name, "-bytes", fmt.Sprint(total))
	p.command.Env = append(os.Environ(), "GOMAXPROCS=1", "FLOOD_TOKEN="+token)
	p.command.Stdout, p.command.Stderr = &p.output, os.Stderr
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if p.input, err = p.command.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	go func() { p.err = p.command.Wait(); close(p.ended) }()
	return p, nil
}

// stop ends it and returns what it heard.
func (p *process) stop() (c counts, err error) {
	_ = p.input.Close()
	select {
	case <-p.ended:
	case <-time.After(20 * time.Second):
		_ = p.command.Process.Kill()
		<-p.ended
	}
	if p.err != nil {
		return c, fmt.Errorf("the attacker: %w", p.err)
	}
	return c, json.Unmarshal(p.output.Bytes(), &c)
}
