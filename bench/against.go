package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/onceql/onceql/bench/postgres"
	"github.com/onceql/onceql/bench/program"
)

// previous is the name of the build that this one is compared with.
const previous = "previous"

// against says what this build is compared with.
type against struct {
	// ref is the git revision of the other build.
	ref string
	// cost leaves out the loads that are not about processor time.
	cost bool
	// with is what this build has in its environment besides.
	with []string
}

// runAgainst measures this build of the server and another one, load by load in turn.
func runAgainst(ctx context.Context, server *postgres.Server, other against, rounds int, duration time.Duration, out string) error {
	programs := map[string]string{"onceql": filepath.Join(server.Work, "onceql"), previous: filepath.Join(server.Work, previous)}
	if err := errors.Join(program.Build("..", programs["onceql"]), buildAt(server.Work, other.ref, programs[previous])); err != nil {
		return err
	}
	var targets []*target
	for _, name := range []string{"onceql", previous} {
		database, err := postgres.NewDatabase(ctx, server.URL(), name)
		if err != nil {
			return err
		}
		var env []string
		if name != previous {
			env = other.with
		}
		t, err := startOnceQL(name, database, programs[name], env...)
		if err != nil {
			return err
		}
		defer t.stop()
		targets = append(targets, t)
		if err := prepare(ctx, database); err != nil {
			return err
		}
	}
	var report report
	for round := range rounds + 1 {
		for _, take := range other.loads(duration) {
			for _, t := range targets {
				measures, err := take(t)
				if err != nil {
					return err
				}
				if round > 0 { // The first one warms up.
					report.add(measures)
				}
			}
			slices.Reverse(targets) // Whatever follows from the order.
		}
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round, rounds)
	}
	if err := report.environment(ctx, server.URL(), duration, rounds); err != nil {
		return err
	}
	report.Machine["previous build"] = other.ref
	report.compareBuilds()
	report.print(os.Stdout)
	if out == "" {
		return nil
	}
	return report.write(out, "against.json")
}

// loads are those that need nothing but the server.
func (a against) loads(duration time.Duration) []func(*target) ([]measure, error) {
	type take = func(*target) ([]measure, error)
	var loads []take
	if a.cost {
		return []take{
			withCPU(func(t *target) ([]measure, error) { return distinct(t, 16, duration) }),
			withCPU(func(t *target) ([]measure, error) { return distinct(t, 64, duration) }),
			withCPU(func(t *target) ([]measure, error) { return replays(t, 64, 10_000, duration) }),
		}
	}
	for _, n := range connections {
		loads = append(loads, func(t *target) ([]measure, error) { return distinct(t, n, duration) })
	}
	loads = append(loads,
		func(t *target) ([]measure, error) { return replays(t, 64, 1, duration) },
		func(t *target) ([]measure, error) { return replays(t, 64, 10_000, duration) },
		func(t *target) ([]measure, error) { return replaysOfUpdates(t, 64, 10_000, duration) },
		func(t *target) ([]measure, error) { return burst(t, 1000) },
		func(t *target) ([]measure, error) { return mix(t, 64, duration) },
	)
	for _, poison := range poisons {
		loads = append(loads, func(t *target) ([]measure, error) { return poisoned(t, 256, poison, duration) })
	}
	for _, slow := range []bool{false, true} {
		loads = append(loads, func(t *target) ([]measure, error) { return neighbour(t, 64, slow, duration) })
	}
	for i := range loads {
		loads[i] = withCPU(loads[i])
	}
	return loads
}

// buildAt builds the server of the git revision, from a worktree that it removes
// again.
func buildAt(work, ref, path string) error {
	sources := filepath.Join(work, "sources")
	if err := program.Output(exec.Command("git", "worktree", "add", "--quiet", "--detach", sources, ref)); err != nil {
		return err
	}
	return errors.Join(program.Build(sources, path), program.Output(exec.Command("git", "worktree", "remove", "--force", sources)))
}

// compareBuilds sets the ratio of this build to the previous one for each figure.
func (r *report) compareBuilds() {
	for _, f := range r.Figures {
		other := r.figure(f.Load, previous)
		if f.Target == previous || other == nil {
			continue
		}
		compared := ratioOf(f, other)
		more, less := "better", "worse"
		if f.Unit != "/s" { // Milliseconds and megabytes.
			more, less = less, more
		}
		switch {
		case compared.Min > 1:
			compared.Note = more + " in every round"
		case compared.Max < 1:
			compared.Note = less + " in every round"
		}
		r.Ratios = append(r.Ratios, compared)
	}
}
