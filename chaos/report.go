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
	// Purged and Forgotten are how many rows were removed.
	Purged, Forgotten int
	Violations        int
	Seconds           float64
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

// add adds the figures of an epoch.
func (r *report) add(other report) {
	r.Calls += other.Calls
	for kind, n := range other.Faults {
		r.Faults[kind] += n
	}
	r.Stepped += other.Stepped
	r.UnknownCommits += other.UnknownCommits
	r.Purged += other.Purged
	r.Forgotten += other.Forgotten
	r.Violations += other.Violations
	r.Seconds += other.Seconds
}

// save keeps the figures for the next run.
func (r *report) save(record string) error {
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
	return fmt.Sprintf("chaos: %d calls, %d faults (%s; %d at a named step), %d failovers, %d unknown commits, %d keys purged, %d forgotten, %d violations, %.0f s, seed %d",
		r.Calls, total, strings.Join(kinds, ", "), r.Stepped, r.Faults[failedOver], r.UnknownCommits, r.Purged, r.Forgotten, r.Violations, r.Seconds, seed)
}

func sortedKeys[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }
