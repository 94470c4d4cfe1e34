package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// A report is the figures of one run, or of several.
type report struct {
	// Seed is the last run's.
	Seed  uint64
	Runs  int
	Calls int
	// Faults counts those that came about, by kind.
	Faults map[string]int
	// Stepped is how many of them came at a named step of an execution.
	Stepped        int
	UnknownCommits int
	Violations     int
	Seconds        float64
}

// open reads the figures of earlier runs, where there are any.
func (r *report) open(record string) error {
	r.Faults = make(map[string]int)
	if record == "" {
		return nil
	}
	text, err := os.ReadFile(record)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(text, r)
	}
	return err
}

// add adds an epoch.
func (r *report) add(calls int, faults map[string]int, stepped, unknown, violations int, took time.Duration) {
	r.Calls += calls
	for kind, n := range faults {
		r.Faults[kind] += n
	}
	r.Stepped += stepped
	r.UnknownCommits += unknown
	r.Violations += violations
	r.Seconds += took.Seconds()
}

// save keeps the figures for the next run.
func (r *report) save(record string) error {
	r.Runs++
	if record == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(record, append(text, '\n'), 0o644) //nolint:gosec // No secret.
}

// line is the figures, for people.
func (r *report) line(seed uint64) string {
	total := 0
	var kinds []string
	for _, kind := range sortedKeys(r.Faults) {
		total += r.Faults[kind]
		kinds = append(kinds, fmt.Sprintf("%s %d", kind, r.Faults[kind]))
	}
	return fmt.Sprintf("chaos: %d calls, %d faults (%s; %d at a named step), %d failovers, %d unknown commits, %d violations, %.0f s, seed %d",
		r.Calls, total, strings.Join(kinds, ", "), r.Stepped, r.Faults[failedOver], r.UnknownCommits, r.Violations, r.Seconds, seed)
}

func sortedKeys[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }
