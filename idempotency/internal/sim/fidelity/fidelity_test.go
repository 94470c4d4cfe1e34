package fidelity_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/onceql/onceql/idempotency/internal/sim"
	"github.com/onceql/onceql/internal/pgtest"
)

var (
	first     = flag.Uint64("first", 0, "the first seed")
	histories = flag.Int("histories", 200, "how many histories run on the machine's own PostgreSQL")
	others    = flag.Int("others", 20, "how many run on each of the other versions")
	figures   = flag.String("figures", "", "the file for a line of figures")
)

// steps are the round trips of a history, before it ends what is under way.
const steps = 60

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestSimulation_AnswersAsPostgres(t *testing.T) {
	var all counts
	for _, version := range append([]string{""}, pgtest.Versions...) {
		name, n := "PostgreSQL "+version, *others
		if version == "" {
			name, n = "the machine's PostgreSQL", *histories
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newPostgres(t, version)
			for seed := *first; seed < *first+uint64(n); seed++ {
				all.add(compare(t, server, seed))
			}
			all.of(server.version)
		})
	}
	t.Cleanup(func() {
		if *figures != "" {
			if err := os.WriteFile(*figures, []byte(all.String()), 0o600); err != nil {
				t.Error(err)
			}
		}
	})
}

// compare runs the history of a seed on both. Where a server may do one thing or another,
// as with two sessions that are woken at once, both have a few tries, until they agree.
func compare(t *testing.T, server *postgres, seed uint64) (lines []string, tries int) {
	t.Helper()
	var real, simulated [][]string
	for try := range uint64(8) {
		real = append(real, server.history(t, seed))
		simulated = append(simulated, simulate(t, seed, sim.Config{Seed: try}))
		for _, r := range real {
			if slices.ContainsFunc(simulated, func(s []string) bool { return slices.Equal(r, s) }) {
				return r, len(real)
			}
		}
	}
	t.Errorf("PostgreSQL %s, seed %d:\n%s", server.version, seed, difference(real[0], simulated[0]))
	return real[0], len(real)
}

// What the simulation does wrong is found.
func TestHistories_FindDifferences(t *testing.T) {
	t.Parallel()
	server := newPostgres(t, "")
	for name, config := range map[string]sim.Config{
		"no primary key":  {NoPrimaryKey: true},
		"locks that lie":  {Faults: []sim.Fault{{Step: sim.StepStartup, Count: 1, Do: sim.Lie, For: hour}}},
		"an answer lost":  {Faults: []sim.Fault{{Step: sim.StepAnswered, Count: 1, Do: sim.Cut}}},
		"a clock shifted": {Faults: []sim.Fault{{Step: "claim", Count: 2, Do: sim.Shift, For: hour}}},
	} {
		found := ""
		for seed := uint64(0); found == "" && seed < 20; seed++ {
			real := server.history(t, seed)
			if difference(real, simulate(t, seed, sim.Config{})) == "" {
				found = difference(real, simulate(t, seed, config))
			}
		}
		if found == "" {
			t.Errorf("%s: no history finds it", name)
		}
	}
}

// difference describes where two histories part, and is empty when they don't.
func difference(real, simulated []string) string {
	for i := range max(len(real), len(simulated)) {
		if i < min(len(real), len(simulated)) && real[i] == simulated[i] {
			continue
		}
		return strings.Join(slices.Concat(real[max(0, i-60):min(i, len(real))],
			[]string{"--- real:"}, real[min(i, len(real)):min(i+12, len(real))],
			[]string{"--- simulated:"}, simulated[min(i, len(simulated)):min(i+12, len(simulated))]), "\n")
	}
	return ""
}

// counts are the figures of all histories.
type counts struct {
	mu                                         sync.Mutex
	versions                                   []string
	histories, repeated, steps, waits, refused int
}

func (c *counts) add(lines []string, tries int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.histories++
	if tries > 1 {
		c.repeated++
	}
	var before, now []string
	for _, line := range lines {
		switch {
		case !strings.HasPrefix(line, " "):
			c.steps++
			before, now = now, nil
		case strings.HasSuffix(line, " waits"):
			if now = append(now, line); !slices.Contains(before, line) {
				c.waits++
			}
		case strings.Contains(line, "< E "):
			c.refused++
		}
	}
}

func (c *counts) of(version string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.versions = append(c.versions, version)
	slices.Sort(c.versions)
}

// String is the line of figures.
func (c *counts) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprintf("fidelity: %d histories from seed %d on PostgreSQL %s: %d steps, %d waits, %d errors; %d histories repeated\n",
		c.histories, *first, strings.Join(c.versions, ", "), c.steps, c.waits, c.refused, c.repeated)
}
