package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// What is wanted of those that behave, beside any neighbour.
const (
	leastThroughput = 0.5
	mostP99         = 5
	mostSlowP99     = 3
	// tolerance is how much later than its wait a caller may hear something, in
	// milliseconds, on a machine whose cores are all busy.
	tolerance = 250
)

// A result is what one kind of neighbours did to those that behave, over all rounds.
type result struct {
	Neighbours string
	// Errors are those of the ones that behave; Example is one of them.
	Errors  int
	Example string `json:",omitempty"`
	// PerSecond and P99 are theirs beside the neighbours, in calls and
	// milliseconds; the ratios compare them with those of the same round without.
	PerSecond, P99                 float64
	ThroughputRatios, P99Ratios    []float64
	ThroughputRatio, P99Ratio      float64
	Unkeyed                        int
	Heard                          map[string]int
	Slowest                        float64
	HeardRight, HeardInTime, Holds bool

	// right is what the bad callers may hear, within wait; most bounds P99Ratio.
	right        []string
	wait         time.Duration
	most         float64
	rates, tails []float64
}

// add takes one round in.
func (r *result) add(alone, beside outcome) {
	r.Errors += beside.errors
	if beside.example != nil {
		r.Example = beside.example.Error()
	}
	r.Unkeyed += beside.unkeyed
	r.rates = append(r.rates, beside.good.PerSecond())
	r.tails = append(r.tails, milliseconds(beside.good.Quantile(0, 0.99)))
	r.ThroughputRatios = append(r.ThroughputRatios, beside.good.PerSecond()/alone.good.PerSecond())
	r.P99Ratios = append(r.P99Ratios, float64(beside.good.Quantile(0, 0.99))/float64(alone.good.Quantile(0, 0.99)))
	if r.Heard == nil {
		r.Heard = map[string]int{}
	}
	for heard, n := range beside.heard {
		r.Heard[heard] += n
	}
	r.Slowest = max(r.Slowest, milliseconds(beside.slowest))
	r.summarize()
}

// summarize works out the medians, and whether what is wanted holds.
func (r *result) summarize() {
	r.PerSecond, r.P99 = median(r.rates), median(r.tails)
	r.ThroughputRatio, r.P99Ratio = median(r.ThroughputRatios), median(r.P99Ratios)
	r.HeardRight = true
	for heard := range r.Heard {
		r.HeardRight = r.HeardRight && slices.Contains(r.right, heard)
	}
	r.HeardInTime = r.Slowest <= milliseconds(r.wait)+tolerance
	r.Holds = r.Errors == 0 && r.Unkeyed == 0 && r.P99Ratio <= r.most && r.HeardRight && r.HeardInTime &&
		(r.most == mostSlowP99 || r.ThroughputRatio >= leastThroughput)
}

// hearing says what the bad callers heard, the most frequent first.
func (r *result) hearing() string {
	if len(r.Heard) == 0 {
		return "-"
	}
	names := make([]string, 0, len(r.Heard))
	total := 0
	for name, n := range r.Heard {
		names = append(names, name)
		total += n
	}
	slices.SortFunc(names, func(a, b string) int { return r.Heard[b] - r.Heard[a] })
	for i, name := range names {
		retry := ""
		if retryable(name) {
			retry = ", retryable"
		}
		if len(names) > 1 {
			retry += fmt.Sprintf(", %.0f %%", 100*float64(r.Heard[name])/float64(total))
		}
		names[i] = name + retry
	}
	return strings.Join(names, "; ")
}

type report struct {
	Wait, Duration string
	Rounds         int
	Results        []*result
}

// print writes the table in Markdown.
func (r *report) print(out io.Writer) {
	fmt.Fprintf(out, "%d tenants that behave, beside %d that do nothing but what is named, against the %d alone; one caller each.\n"+
		"Rounds: %d of %s, medians of their ratios. A call waits %s at most.\n"+
		"Wanted: no errors, throughput ≥ %g, p99 ≤ %d × (beside slow effects %d ×), and that the bad hear what is theirs within their wait.\n\n",
		goodTenants, badTenants, goodTenants, r.Rounds, r.Duration, r.Wait, leastThroughput, mostP99, mostSlowP99)
	fmt.Fprintln(out, "| neighbours | errors of the others | their throughput | their p99 | effects without key | the bad hear | after at most | holds |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|")
	for _, result := range r.Results {
		fmt.Fprintf(out, "| %s | %d | %.2f | %.1f × (%.1f ms) | %d | %s | %.0f ms | %s |\n", result.Neighbours, result.Errors, result.ThroughputRatio, result.P99Ratio, result.P99,
			result.Unkeyed, result.hearing(), result.Slowest, map[bool]string{true: "yes", false: "**no**"}[result.Holds])
	}
}

// write writes the table as it is printed, and everything as JSON.
func (r *report) write(dir string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	var table strings.Builder
	r.print(&table)
	return errors.Join(os.MkdirAll(dir, 0o755),
		os.WriteFile(filepath.Join(dir, "neighbours.json"), append(text, '\n'), 0o644),
		os.WriteFile(filepath.Join(dir, "neighbours.md"), []byte(table.String()), 0o644))
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
