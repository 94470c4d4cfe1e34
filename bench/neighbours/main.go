// Neighbours measures what callers who do one bad thing over and over do to those
// who share the engine with them: 64 tenants that behave, alone and beside 3 that
// don't, in interleaved rounds on a PostgreSQL of its own.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/onceql/onceql/bench/postgres"
)

func main() {
	postgres.Supervise()
	rounds := flag.Int("rounds", 3, "interleaved rounds")
	duration := flag.Duration("duration", 2*time.Second, "of one measurement")
	wait := flag.Duration("wait", 2*time.Second, "of a call at most; less than the engine's default, so that a round of calls that can't be done is soon over")
	only := flag.String("only", "", "measure the neighbours of this name alone")
	out := flag.String("out", "", "directory for neighbours.md and neighbours.json; none: the table alone")
	flag.Parse()
	if err := run(context.Background(), bench{duration: *duration, wait: *wait}, *rounds, *only, *out); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, b bench, rounds int, only, out string) error {
	server, err := postgres.Start(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = server.Stop(ctx) }()
	release, err := prepare(ctx, server.URL())
	if err != nil {
		return err
	}
	defer release()

	b.database = server.URL()
	kinds := b.kinds(only)
	if len(kinds) == 0 {
		return fmt.Errorf("there are no neighbours of the name %q", only)
	}
	r := report{Wait: b.wait.String(), Duration: b.duration.String(), Rounds: rounds}
	for _, k := range kinds {
		r.Results = append(r.Results, k.result)
	}
	if _, err := b.take(ctx, nil); err != nil { // To warm up.
		return err
	}
	for round := range rounds {
		for _, k := range kinds {
			alone, err := k.take(ctx, false)
			if err != nil {
				return err
			}
			beside, err := k.take(ctx, true)
			if err != nil {
				return fmt.Errorf("%s: %w", k.result.Neighbours, err)
			}
			k.result.add(alone, beside)
			fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, rounds, k.result.Neighbours)
		}
	}
	r.print(os.Stdout)
	if out == "" {
		return nil
	}
	return r.write(out)
}

// A kind is one kind of neighbours, and how those that behave are measured alone
// and beside them.
type kind struct {
	result *result
	take   func(ctx context.Context, beside bool) (outcome, error)
}

// kinds are those of the name, or all.
func (b bench) kinds(only string) []kind {
	var kinds []kind
	add := func(r *result, take func(context.Context, bool) (outcome, error)) {
		if only == "" || only == r.Neighbours {
			kinds = append(kinds, kind{r, take})
		}
	}
	for _, bad := range behaviours {
		add(&result{Neighbours: bad.name, right: bad.right, wait: b.wait, most: mostP99}, func(ctx context.Context, beside bool) (outcome, error) {
			if !beside {
				return b.take(ctx, nil)
			}
			return b.take(ctx, bad)
		})
	}
	for _, callers := range []int{1, 4} {
		add(&result{Neighbours: fmt.Sprintf("slow effects of one tenant, %d single callers of another", callers), most: mostSlowP99},
			func(ctx context.Context, beside bool) (outcome, error) { return b.takeSlow(ctx, callers, beside) })
	}
	return kinds
}
