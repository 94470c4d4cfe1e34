package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/onceql/onceql/bench/postgres"
	"github.com/onceql/onceql/bench/program"
)

// previous is the name of the build that this one is compared with.
const previous = "previous"

// against says what is compared with what.
type against struct {
	// ref is the git revision of the previous build, and with are more sides of this one.
	ref  string
	with sides
	// only is a regular expression for the names of the loads.
	only     string
	rounds   int
	duration time.Duration
	out      string
}

// runAgainst measures this build of the server and that of ref, load by load in
// turn.
func runAgainst(ctx context.Context, server *postgres.Server, a against) error {
	this, other := filepath.Join(server.Work, "onceql"), filepath.Join(server.Work, previous)
	if err := errors.Join(program.Build("..", this), buildAt(server.Work, a.ref, other)); err != nil {
		return err
	}
	loads, err := loadsAgainst(a.duration, a.only)
	if err != nil {
		return err
	}
	collector, err := startCollector(ctx)
	if err != nil {
		return err
	}
	var targets []*target
	for n, side := range append(sides{{name: "onceql"}, {name: previous}}, a.with...) {
		database, err := postgres.NewDatabase(ctx, server.URL(), fmt.Sprint("side_", n))
		if err != nil {
			return err
		}
		path := this
		if side.name == previous {
			path = other
		}
		t, err := startOnceQL(side.name, database, path, side.env(collector)...)
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
	for round := range a.rounds + 1 {
		for _, l := range loads {
			for _, t := range targets {
				measures, err := withCPU(l.take)(t)
				if err != nil {
					return err
				}
				if round > 0 { // The first one warms up.
					report.add(measures)
				}
			}
			slices.Reverse(targets) // Whatever follows from the order.
		}
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round, a.rounds)
	}
	if err := report.environment(ctx, server.URL(), a.duration, a.rounds); err != nil {
		return err
	}
	report.Machine["previous build"] = a.ref
	report.compareBuilds()
	report.print(os.Stdout)
	if a.out == "" {
		return nil
	}
	return report.write(a.out, "against.json")
}

// A namedLoad is what -only chooses.
type namedLoad struct {
	name string
	take func(*target) ([]measure, error)
}

// loadsAgainst are the loads that need nothing but the server, as far as their names
// match.
func loadsAgainst(duration time.Duration, only string) ([]namedLoad, error) {
	chosen, err := regexp.Compile(only)
	if err != nil {
		return nil, fmt.Errorf("-only: %w", err)
	}
	var loads []namedLoad
	for _, n := range connections {
		loads = append(loads, namedLoad{fmt.Sprintf("distinct keys, %d", n), func(t *target) ([]measure, error) { return distinct(t, n, duration) }})
	}
	loads = append(loads,
		namedLoad{"replays of one key", func(t *target) ([]measure, error) { return replays(t, 64, 1, duration) }},
		namedLoad{"replays of distinct keys", func(t *target) ([]measure, error) { return replays(t, 64, 10_000, duration) }},
		namedLoad{"replays of updateProject", func(t *target) ([]measure, error) { return replaysOfUpdates(t, 64, 10_000, duration) }},
		namedLoad{"burst", func(t *target) ([]measure, error) { return burst(t, 1000) }},
		namedLoad{"mix", func(t *target) ([]measure, error) { return mix(t, 64, duration) }},
	)
	for _, poison := range poisons {
		loads = append(loads, namedLoad{"refused " + poison.kind, func(t *target) ([]measure, error) { return poisoned(t, 256, poison, duration) }})
	}
	for _, slow := range []bool{false, true} {
		loads = append(loads, namedLoad{"neighbour", func(t *target) ([]measure, error) { return neighbour(t, 64, slow, duration) }})
	}
	return slices.DeleteFunc(loads, func(l namedLoad) bool { return !chosen.MatchString(l.name) }), nil
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
		if f.Target != "onceql" {
			compared.Name += ", " + f.Target
		}
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
