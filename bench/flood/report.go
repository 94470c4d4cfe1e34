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

// What is wanted of the good tenant's p99 beside an attack, and of the server's memory.
const (
	mostRatio  = 3
	mostP99    = 25 * time.Millisecond
	mostGrowth = 256 << 20
	// littleGrowth is by how much more memory counts as come back.
	littleGrowth = 64 << 20
)

// A memory is the server's resident one, in bytes, around an attack.
type memory struct {
	Before, Peak, After int64
	// Took is how long it took from the attack's end to After.
	Took time.Duration
}

func (m memory) growth() int64 { return max(0, m.Peak-m.Before) }

func (m memory) back() bool { return m.After-m.Before <= littleGrowth }

// A result is what an attack did, over all rounds.
type result struct {
	Attack string
	// Memory says that the server's memory is judged too.
	Memory bool
	// Alone and Beside are the good tenant's latencies.
	Alone, Beside quantiles
	// Requests are those of the good tenant, and Probes those of /readyz, quiet rounds
	// included; Refused and Unready are those that were not answered as they have to be.
	Requests, Refused, Probes, Unready int
	Example                            string `json:",omitempty"`
	// Resident is of the round in which the memory grew most.
	Resident memory
	Attacker counts
	// Attacked is how long the attacks took.
	Attacked time.Duration

	latencies [2][]time.Duration
}

type quantiles struct{ P50, P99, Most time.Duration }

func quantilesOf(latencies []time.Duration) quantiles {
	sorted := slices.Sorted(slices.Values(latencies))
	if len(sorted) == 0 {
		return quantiles{}
	}
	at := func(q float64) time.Duration { return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))] }
	return quantiles{at(0.5), at(0.99), sorted[len(sorted)-1]}
}

func (r *result) alone(s sample) {
	r.counts(s)
	r.latencies[0] = append(r.latencies[0], s.latencies...)
	r.Alone = quantilesOf(r.latencies[0])
}

func (r *result) beside(s sample, heard counts, took time.Duration) {
	r.counts(s)
	r.latencies[1] = append(r.latencies[1], s.latencies...)
	r.Beside = quantilesOf(r.latencies[1])
	r.Attacker.add(heard)
	r.Attacked += took
}

// counts adds what must be none.
func (r *result) counts(s sample) {
	r.Requests += len(s.latencies)
	r.Refused += s.refused
	r.Probes += s.probes
	r.Unready += s.unready
	if r.Example == "" {
		r.Example = s.example
	}
}

func (r *result) memory(m memory) {
	if r.Resident.Before == 0 || m.growth() >= r.Resident.growth() {
		r.Resident = m
	}
}

// kept says whether the counts are what they have to be, and the memory where it is
// judged. Times are not among them: a busy machine makes all of them longer.
func (r *result) kept() bool {
	return r.Refused == 0 && r.Unready == 0 && r.Requests > 0 && r.Probes > 0 &&
		(!r.Memory || r.Resident.growth() <= mostGrowth && r.Resident.back())
}

// fast says whether the p99 is as wanted.
func (r *result) fast() bool { return r.Beside.P99 <= max(mostRatio*r.Alone.P99, mostP99) }

func (r *result) ratio() float64 { return float64(r.Beside.P99) / float64(max(1, r.Alone.P99)) }

// String is a line about it.
func (r *result) String() string {
	return fmt.Sprintf("%s: p99 %.1f ms, %.1f ×; refused %d of %d, unready %d of %d; memory +%d MiB; attacker: %s %s",
		r.Attack, milliseconds(r.Beside.P99), r.ratio(), r.Refused, r.Requests, r.Unready, r.Probes, r.Resident.growth()>>20, &r.Attacker, r.Example)
}

type report struct {
	Quiet, Attack string
	Rounds        int
	Results       []*result
}

func (r *report) kept() bool {
	return !slices.ContainsFunc(r.Results, func(r *result) bool { return !r.kept() })
}

// print writes the table in Markdown, and a line of figures.
func (r *report) print(out io.Writer) {
	fmt.Fprintf(out, "One tenant creates %d projects a second on %d connections, alone and beside another tenant's attack.\n"+
		"Rounds: %d of %s alone and %s beside; latencies in ms from when a request should have been sent, of all rounds.\n"+
		"The attacker is a process of its own with nice %s and one processor, on the same machine as the server and PostgreSQL.\n"+
		"Wanted: p99 ≤ the larger of %d × alone and %d ms; 0 refused; /readyz 200; and of the attacks on memory that it\n"+
		"grows by at most %d MiB and is back within a minute, which is to within %d MiB.\n\n",
		perSecond, goodConnections, r.Rounds, r.Quiet, r.Attack, niceness, mostRatio, mostP99.Milliseconds(), mostGrowth>>20, littleGrowth>>20)
	fmt.Fprintln(out, "| attack | p50 alone, beside | p99 alone, beside | p99 ratio | refused | not ready | memory before, peak, after (MiB) | the attacker | p99 | counts |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|---|---|")
	says := map[bool]string{true: "holds", false: "**no**"}
	for _, result := range r.Results {
		m, after := result.Resident, ""
		if result.Memory {
			after = fmt.Sprintf(" after %d s", int(m.Took.Seconds()))
		}
		fmt.Fprintf(out, "| %s | %.1f, %.1f | %.1f, %.1f | %.1f | %d of %d | %d of %d | %d, %d, %d%s | %s in %d s | %s | %s |\n", result.Attack,
			milliseconds(result.Alone.P50), milliseconds(result.Beside.P50), milliseconds(result.Alone.P99), milliseconds(result.Beside.P99), result.ratio(),
			result.Refused, result.Requests, result.Unready, result.Probes, m.Before>>20, m.Peak>>20, m.After>>20, after,
			&result.Attacker, int(result.Attacked.Seconds()), says[result.fast()], says[result.kept()])
	}
	fmt.Fprintf(out, "\n%s\n", r.figures())
}

// figures is the line of figures.
func (r *report) figures() string {
	var requests, refused, probes, unready, fast int
	var growth int64
	var worst *result
	for _, result := range r.Results {
		requests, refused = requests+result.Requests, refused+result.Refused
		probes, unready = probes+result.Probes, unready+result.Unready
		growth = max(growth, result.Resident.growth())
		if result.fast() {
			fast++
		}
		if worst == nil || result.Beside.P99 > worst.Beside.P99 {
			worst = result
		}
	}
	return fmt.Sprintf("flood: %d attacks, %d of %d requests refused, /readyz not 200 %d of %d times, p99 holds beside %d of %d, at worst %.1f ms (%.1f ×: %s), memory grew by %d MiB at most",
		len(r.Results), refused, requests, unready, probes, fast, len(r.Results), milliseconds(worst.Beside.P99), worst.ratio(), worst.Attack, growth>>20)
}

// write writes what is printed, and everything as JSON.
func (r *report) write(dir string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	var table strings.Builder
	r.print(&table)
	return errors.Join(os.MkdirAll(dir, 0o755),
		os.WriteFile(filepath.Join(dir, "flood.json"), append(text, '\n'), 0o644),
		os.WriteFile(filepath.Join(dir, "flood.md"), []byte(table.String()), 0o644))
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
