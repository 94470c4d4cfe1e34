// Soak lets two servers and an engine of its own work at half of the load that they can
// take, with purges and restarts, and says whether anything grows: memory, threads,
// goroutines, connections, tables and indexes.
//
// It is in bench, because it measures and breaks nothing: it has bench's PostgreSQL. One
// server is never restarted, so that what it gathers can be seen.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/onceql/onceql/bench/postgres"
)

// options are the flags.
type options struct {
	duration, every, restarts time.Duration
	out                       string
}

func main() {
	postgres.Supervise()
	var o options
	flag.DurationVar(&o.duration, "for", 20*time.Minute, "how long the servers work")
	flag.DurationVar(&o.every, "every", 10*time.Second, "the pause between two samples")
	flag.DurationVar(&o.restarts, "restarts", 2*time.Minute, "the pause between two restarts")
	flag.StringVar(&o.out, "out", "soak.csv", "a file for the samples")
	flag.Parse()
	// A short form has as many samples as are needed for a slope.
	o.every, o.restarts = min(o.every, o.duration/40), min(o.restarts, o.duration/6)
	flat, err := run(context.Background(), o)
	if err != nil {
		log.Fatal(err)
	}
	if !flat {
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (flat bool, err error) {
	server, err := postgres.Start(ctx)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, server.Stop(ctx)) }()
	d, err := newDatabase(ctx, server)
	if err != nil {
		return false, err
	}
	defer d.close(ctx)
	servers, err := d.startServers()
	if err != nil {
		return false, err
	}
	defer func() {
		for _, s := range servers {
			s.stop()
		}
	}()
	l := newLoad(servers)
	full, err := l.calibrate(5 * time.Second)
	if err != nil {
		return false, err
	}
	e, err := startEngine(ctx, d.owner)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, e.stop(ctx)) }()
	fmt.Fprintf(os.Stderr, "%.0f requests a second are all; %.0f are sent\n", full, full/2)
	l.begin(full / 2)
	samples, restarts, err := observe(ctx, o, d, servers, l, e)
	l.end()
	if err != nil {
		return false, err
	}
	if err := write(o.out, samples); err != nil {
		return false, err
	}
	return report(os.Stdout, o, samples, restarts), nil
}
