// Edge runs two of OnceQL's servers behind an edge that sends a request again when a server
// has not answered: Debian's nginx or HAProxy, with the configurations of deploy/. Servers
// are killed, drained, restarted and frozen under load, or upgraded and rolled back. It
// checks that every call took effect at most once and was told to its caller, and says how
// many of the faults no client noticed.
//
// It ends with one line of figures for each edge, and with status 1 over a violation, or when
// more faults were noticed than are allowed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/onceql/onceql/chaos/builds"
	"github.com/onceql/onceql/chaos/cluster"
	"github.com/onceql/onceql/chaos/sandbox"
)

// options are the flags.
type options struct {
	edges    string
	upgrade  bool
	seed     uint64
	duration time.Duration
	calls    int
	faults   int
	healed   float64
	server   string
	previous string
	logs     string
}

func parse() options {
	var o options
	flag.StringVar(&o.edges, "edges", "nginx,haproxy", "the edges, one after another")
	flag.BoolVar(&o.upgrade, "upgrade", false, "upgrade from the build before and roll back, instead of faults")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().Unix()), "what the faults and the calls are drawn from")
	flag.DurationVar(&o.duration, "for", 25*time.Second, "how long calls are made at least, by each edge")
	flag.IntVar(&o.calls, "calls", 0, "how many calls are made at least")
	flag.IntVar(&o.faults, "faults", 0, "how many faults happen at least")
	flag.Float64Var(&o.healed, "healed", 0.95, "the share of the faults that no client may notice")
	flag.StringVar(&o.server, "server", "", "the server's program; none builds this clone's")
	flag.StringVar(&o.previous, "previous", "", "the program of the build before; none builds the commit that previous-build names")
	flag.StringVar(&o.logs, "logs", "", "a directory for the logs of a run with a violation")
	flag.Parse()
	return o
}

// workMarker is the environment variable that names the directory of a run.
const workMarker = "ONCEQL_EDGE_WORK"

// current and previous are where the servers' programs are in the directory of a run.
const (
	current  = "onceql"
	previous = "onceql-previous"
)

func main() {
	sandbox.Init()
	o := parse()
	if !sandbox.Inside() {
		status, err := outside(o)
		if err != nil {
			fmt.Fprintln(os.Stderr, "edge:", err)
			status = 1
		}
		os.Exit(status)
	}
	good, err := run(context.Background(), o, os.Getenv(workMarker))
	if err != nil {
		fmt.Fprintln(os.Stderr, "edge:", err)
		os.Exit(2)
	}
	if !good {
		os.Exit(1)
	}
}

// outside builds what is run, and runs it in a sandbox for each edge.
func outside(o options) (status int, err error) {
	programs, err := os.MkdirTemp("", "onceql-edge-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(programs)) }()
	if err := os.Chmod(programs, 0o755); err != nil { //nolint:gosec // No secrets.
		return 0, err
	}
	if err := builds.Current("..", o.server, filepath.Join(programs, current)); err != nil {
		return 0, err
	}
	if o.upgrade {
		before := filepath.Join(programs, previous)
		if o.previous != "" {
			err = builds.Link(o.previous, before)
		} else {
			err = builds.Previous("..", programs, before)
		}
		if err != nil {
			return 0, err
		}
	}
	for name := range strings.SplitSeq(o.edges, ",") {
		if kinds[name] == nil {
			return 0, fmt.Errorf("no edge is named %q", name)
		}
		one, err := oneRun(o, programs, name)
		if err != nil {
			return 0, err
		}
		status = max(status, one)
	}
	return status, nil
}

// edgeMarker is the environment variable that names the edge of a run.
const edgeMarker = "ONCEQL_EDGE"

// oneRun runs everything with one edge, in a sandbox of its own.
func oneRun(o options, programs, name string) (status int, err error) {
	work := filepath.Join(programs, name)
	disks := map[string]string{filepath.Join(work, cluster.Names[0]): "size=1g"}
	for disk := range disks {
		if err := os.MkdirAll(disk, 0o755); err != nil { //nolint:gosec // No secrets.
			return 0, err
		}
	}
	for _, program := range []string{current, previous} {
		if program == current || o.upgrade {
			if err := os.Symlink(filepath.Join(programs, program), filepath.Join(work, program)); err != nil {
				return 0, err
			}
		}
	}
	// Where Debian's nginx keeps its files; those of the machine's stay as they are.
	for _, dir := range kinds[name].dirs {
		disks[dir] = "size=256m"
	}
	if err := errors.Join(os.Setenv(workMarker, work), os.Setenv(edgeMarker, name)); err != nil {
		return 0, err
	}
	return sandbox.Run(disks), nil
}
