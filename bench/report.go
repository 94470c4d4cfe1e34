package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"
)

// A figure is what one target did under one load, over all rounds.
type figure struct {
	Load, Target, Unit string
	Median, Min, Max   float64
	Values             []float64
}

// A ratio compares two figures, round by round, with what it has to be.
type ratio struct {
	Name             string
	Median, Min, Max float64
	// Least or Most bounds it; zero means no bound.
	Least, Most float64
	// Note is what there is to say of one without bounds.
	Note string `json:",omitempty"`
}

type report struct {
	Machine map[string]string
	Figures []*figure
	Ratios  []ratio
}

func (r *report) add(measures []measure) {
	for _, m := range measures {
		f := r.figure(m.load, m.target)
		if f == nil {
			f = &figure{Load: m.load, Target: m.target, Unit: m.unit}
			r.Figures = append(r.Figures, f)
		}
		f.Values = append(f.Values, m.value)
		f.Median, f.Min, f.Max = spread(f.Values)
	}
}

func (r *report) figure(load, target string) *figure {
	for _, f := range r.Figures {
		if f.Load == load && f.Target == target {
			return f
		}
	}
	return nil
}

func spread(values []float64) (median, least, most float64) {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2], sorted[0], sorted[len(sorted)-1]
}

// goals are the ratios that are wanted.
var goals = []struct {
	load, target, otherLoad, other string
	least, most                    float64
}{
	{"distinct keys, 256", "onceql", "", "naive", 4, 0},
	{"distinct keys, 256", "onceql", "", "floor", 0.70, 0},
	{"distinct keys, 64", "onceql", "", "pgbench", 1.4, 0},
	{"distinct keys, 64", "onceql", "", "express", 6, 0},
	{"distinct keys, 1, median latency", "onceql", "", "naive", 0, 1},
	{"replays of one key, 64", "onceql", "", "floor", 0.85, 0},
	{"replays of distinct keys, 64", "onceql", "", "floor", 0.70, 0},
	{"replays of updateProject, 64", "onceql", "replays of distinct keys, 64", "onceql", 0.9, 0},
	{"burst of 1000 on one key", "onceql", "", "floor", 0, 1.5},
	{"1 % refused by its own error, 256", "onceql", "distinct keys, 256", "onceql", 0.8, 0},
	{"1 % refused by a database error, 256", "onceql", "distinct keys, 256", "onceql", 0.8, 0},
	{"p99 of createProject with a slow neighbour", "onceql", "p99 of createProject without a slow neighbour", "onceql", 0, 1.5},
	{"memory, 256 connections", "onceql", "", "floor", 0, 1.5},
	{"tenants: 1000, 256", "tenants", "tenants: 1, 256", "tenants", 0.9, 0},
	{stored("time-ordered", 10_000_000), "onceql", stored("time-ordered", 0), "onceql", 0.9, 0},
	{stored("random", 10_000_000), "onceql", stored("random", 0), "onceql", 0, 0},
	{"during a purge", "onceql", "beside no purge", "onceql", 0.9, 0},
}

// compare sets the ratios that there are goals for.
func (r *report) compare() {
	r.Ratios = nil
	for _, goal := range goals {
		otherLoad := goal.load
		if goal.otherLoad != "" {
			otherLoad = goal.otherLoad
		}
		one, other := r.figure(goal.load, goal.target), r.figure(otherLoad, goal.other)
		if one == nil || other == nil {
			continue
		}
		compared := ratioOf(one, other)
		compared.Least, compared.Most = goal.least, goal.most
		if goal.otherLoad != "" {
			compared.Name = goal.load + " / " + goal.otherLoad
		}
		r.Ratios = append(r.Ratios, compared)
	}
}

func ratioOf(one, other *figure) ratio {
	values := make([]float64, min(len(one.Values), len(other.Values)))
	for i := range values {
		values[i] = one.Values[i] / other.Values[i]
	}
	r := ratio{Name: one.Load + ": " + one.Target + " / " + other.Target}
	r.Median, r.Min, r.Max = spread(values)
	return r
}

func (r ratio) verdict() string {
	met := map[bool]string{true: "met", false: "not met"}
	switch {
	case r.Least > 0:
		return fmt.Sprintf("at least %g: %s", r.Least, met[r.Median >= r.Least])
	case r.Most > 0:
		return fmt.Sprintf("at most %g: %s", r.Most, met[r.Median <= r.Most])
	}
	return r.Note
}

// environment notes what the figures were measured on.
func (r *report) environment(ctx context.Context, postgres string, duration time.Duration, rounds int) error {
	conn, err := pgx.Connect(ctx, postgres)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	r.Machine = map[string]string{
		"cores": fmt.Sprint(runtime.NumCPU()), "go": runtime.Version(),
		"rounds": fmt.Sprint(rounds), "duration of a load": duration.String(),
	}
	for _, setting := range []string{"server_version", "synchronous_commit", "fsync", "shared_buffers", "max_connections"} {
		var value string
		if err := conn.QueryRow(ctx, `select current_setting($1)`, setting).Scan(&value); err != nil {
			return err
		}
		r.Machine["postgres "+setting] = value
	}
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			r.Machine["processor"] = strings.TrimSpace(value)
			break
		}
	}
	return nil
}

func (r *report) print(out io.Writer) {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range r.Machine {
			if !yield(name) {
				return
			}
		}
	}) {
		fmt.Fprintf(table, "%s\t%s\n", name, r.Machine[name])
	}
	fmt.Fprintln(table, "\nload\ttarget\tmedian\tleast\tmost\t")
	for _, f := range r.Figures {
		fmt.Fprintf(table, "%s\t%s\t%.4g %s\t%.4g\t%.4g\t\n", f.Load, f.Target, f.Median, f.Unit, f.Min, f.Max)
	}
	fmt.Fprintln(table, "\nratio\tmedian\tleast\tmost\tgoal\t")
	for _, c := range r.Ratios {
		fmt.Fprintf(table, "%s\t%.2f\t%.2f\t%.2f\t%s\t\n", c.Name, c.Median, c.Min, c.Max, c.verdict())
	}
	_ = table.Flush()
}

func (r *report) write(dir, file string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, file), append(text, '\n'), 0o644))
}

func (r *report) draw(dir string) error {
	var err error
	for _, p := range plots {
		err = errors.Join(err, p.draw(r, dir))
	}
	return err
}
