// Chaos runs OnceQL's servers on a PostgreSQL with a synchronous standby, has them called
// as clients call, does to all of them what happens to machines, and checks that every
// call with a key took effect at most once and that everyone was told the same.
//
// It ends with one line of figures, and with status 1 over a violation.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/onceql/onceql/chaos/builds"
	"github.com/onceql/onceql/chaos/cluster"
	"github.com/onceql/onceql/chaos/sandbox"
)

// options are the flags.
type options struct {
	seed            uint64
	duration, epoch time.Duration
	server          string
	previous        string
	record          string
	logs            string
	untilViolation  bool
}

func parse() options {
	var o options
	flag.Uint64Var(&o.seed, "seed", 0, "what the faults and the calls are drawn from; 0 takes the time")
	flag.DurationVar(&o.duration, "for", 2*time.Minute, "how long faults happen")
	flag.DurationVar(&o.epoch, "epoch", time.Minute, "after how long everything is healed and checked")
	flag.StringVar(&o.server, "server", "", "the server's program; none builds this clone's")
	flag.StringVar(&o.previous, "previous", "", "the program of the build before, for rolling restarts; none builds the commit that previous-build names, \"none\" does without")
	flag.StringVar(&o.record, "record", "", "a file that adds several runs up; the seed is then the next one")
	flag.StringVar(&o.logs, "logs", "", "a directory for the logs of a run with a violation")
	flag.BoolVar(&o.untilViolation, "until-violation", false, "end at the first violation")
	flag.Parse()
	return o
}

// workMarker is the environment variable that names the directory of a run.
const workMarker = "ONCEQL_CHAOS_WORK"

func main() {
	sandbox.Init()
	o := parse()
	if !sandbox.Inside() {
		status, err := outside(o)
		if err != nil {
			fmt.Fprintln(os.Stderr, "chaos:", err)
			status = 1
		}
		os.Exit(status)
	}
	violated, err := run(context.Background(), o, os.Getenv(workMarker))
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(2)
	}
	if violated {
		os.Exit(1)
	}
}

// outside builds what is run, and runs it in a sandbox.
func outside(o options) (status int, err error) {
	work, err := os.MkdirTemp("", "onceql-chaos-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	// For root it is another user that runs PostgreSQL in there.
	if err := os.Chmod(work, 0o755); err != nil { //nolint:gosec // No secrets.
		return 0, err
	}
	if err := programs(o, work); err != nil {
		return 0, err
	}
	disks := make(map[string]string)
	for _, name := range cluster.Names {
		disk := filepath.Join(work, name)
		if err := os.Mkdir(disk, 0o755); err != nil { //nolint:gosec // As above.
			return 0, err
		}
		disks[disk] = "size=600m"
	}
	if err := os.Setenv(workMarker, work); err != nil {
		return 0, err
	}
	return sandbox.Run(disks), nil
}

// current and previous are where the servers' programs are in the directory of a run.
const (
	current  = "onceql"
	previous = "onceql-previous"
)

func programs(o options, work string) error {
	server, before := filepath.Join(work, current), filepath.Join(work, previous)
	if err := builds.Current("..", o.server, server); err != nil {
		return err
	}
	switch o.previous {
	case "none":
		return builds.Link(server, before)
	case "":
		return builds.Previous("..", work, before)
	default:
		return builds.Link(o.previous, before)
	}
}
