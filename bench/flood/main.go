// Flood measures what one tenant takes from another: a good tenant creates projects at a
// steady rate, alone and beside an attack, in interleaved rounds. The server is the real
// program, with tokens, as a role that owns nothing.
//
// Each attack is sent by a process of its own, by another tenant. That process is nice
// and has one processor, so that what is measured is what the server lets it take, and
// not what sending costs on the same machine.
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
	rounds        int
	quiet, attack time.Duration
	memory        int64
	only          string
	sources       string
	env           string
	out           string
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == attackCommand {
		if err := runAttacker(os.Args[2:]); err != nil {
			log.Fatal(err)
		}
		return
	}
	postgres.Supervise()
	var o options
	flag.IntVar(&o.rounds, "rounds", 1, "interleaved rounds, each of them quiet and then beside the attack")
	flag.DurationVar(&o.quiet, "quiet", 5*time.Second, "of a round without the attack")
	flag.DurationVar(&o.attack, "attack", 12*time.Second, "of a round beside it, longer than any wait of the server")
	flag.Int64Var(&o.memory, "memory", 1_000_000_000, "how many bytes the attacks on memory send")
	flag.StringVar(&o.only, "only", "", "the attacks with this in their names alone")
	flag.StringVar(&o.sources, "sources", "..", "directory of the server's sources")
	flag.StringVar(&o.env, "env", "", "settings of the server, NAME=value, separated by spaces")
	flag.StringVar(&o.out, "out", "", "directory for flood.md and flood.json; none: the table alone")
	flag.Parse()
	kept, err := run(context.Background(), o)
	if err != nil {
		log.Fatal(err)
	}
	if !kept {
		os.Exit(1)
	}
}

// run says whether every count is what it has to be.
func run(ctx context.Context, o options) (kept bool, err error) {
	chosen := named(o.only)
	if len(chosen) == 0 {
		return false, fmt.Errorf("no attack has %q in its name", o.only)
	}
	database, err := postgres.Start(ctx)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, database.Stop(ctx)) }()
	i, err := newIssuer()
	if err != nil {
		return false, err
	}
	defer i.close()
	b, err := newBench(ctx, database, i, o)
	if err != nil {
		return false, err
	}
	r := report{Quiet: o.quiet.String(), Attack: o.attack.String(), Rounds: o.rounds}
	for _, a := range chosen {
		r.Results = append(r.Results, &result{Attack: a.name, Memory: a.total})
	}
	for round := range o.rounds {
		for n, a := range chosen {
			if a.total && round > 0 {
				continue // What it takes is counted, and not compared.
			}
			if err := b.take(ctx, a, r.Results[n]); err != nil {
				return false, fmt.Errorf("%s: %w", a.name, err)
			}
			fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, o.rounds, r.Results[n])
		}
	}
	r.print(os.Stdout)
	if o.out != "" {
		err = r.write(o.out)
	}
	return r.kept(), err
}
