package main

import (
	"errors"
	"strings"
	"testing"
	"time"
)

var errRefused = errors.New("503 try again")

// sampleOf has so many latencies of each.
func sampleOf(latencies map[time.Duration]int) sample {
	s := sample{probes: 10}
	for latency, n := range latencies {
		for range n {
			s.latencies = append(s.latencies, latency)
		}
	}
	return s
}

func TestResult_CountsOfAllRounds(t *testing.T) {
	t.Parallel()
	var r result
	r.alone(sampleOf(map[time.Duration]int{time.Millisecond: 100}))
	if !r.kept() {
		t.Error("it broke without a refusal")
	}
	refused := sampleOf(map[time.Duration]int{time.Millisecond: 50})
	refused.refuse(errRefused)
	r.beside(refused, counts{}, time.Second)
	r.beside(sampleOf(map[time.Duration]int{time.Millisecond: 50}), counts{}, time.Second)
	if r.kept() || r.Refused != 1 || r.Requests != 200 || r.Example != errRefused.Error() {
		t.Errorf("kept %t with %d of %d refused, example %q", r.kept(), r.Refused, r.Requests, r.Example)
	}

	// A probe that fails in a quiet round counts too.
	r = result{}
	r.alone(sample{latencies: []time.Duration{1}, probes: 10, unready: 1})
	r.beside(sampleOf(map[time.Duration]int{time.Millisecond: 50}), counts{}, time.Second)
	if r.kept() || r.Unready != 1 || r.Probes != 20 {
		t.Errorf("kept %t with %d of %d not ready", r.kept(), r.Unready, r.Probes)
	}
}

func TestResult_WithoutARequestOrAProbeIsBroken(t *testing.T) {
	t.Parallel()
	for _, s := range []sample{{}, {probes: 1}, {latencies: []time.Duration{1}}} {
		var r result
		r.alone(s)
		if r.kept() {
			t.Errorf("kept with %d requests and %d probes", r.Requests, r.Probes)
		}
	}
}

func TestResult_Memory(t *testing.T) {
	t.Parallel()
	const before = 100 << 20
	for _, c := range []struct {
		judged     bool
		peak, last int64
		kept       bool
	}{
		{true, before + mostGrowth, before + littleGrowth, true},
		{true, before + mostGrowth + 1, before, false},
		{true, before, before + littleGrowth + 1, false},
		{false, before + 2*mostGrowth, before + mostGrowth, true},
	} {
		r := result{Memory: c.judged}
		r.alone(sampleOf(map[time.Duration]int{1: 1}))
		r.memory(memory{Before: before, Peak: before, After: before})
		r.memory(memory{Before: before, Peak: c.peak, After: c.last})
		if r.kept() != c.kept {
			t.Errorf("%+v: kept %t", c, r.kept())
		}
	}
}

func TestResult_FastIsByTheLargerBound(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		alone, beside time.Duration
		fast          bool
	}{
		{time.Millisecond, mostP99, true},
		{time.Millisecond, mostP99 + 1, false},
		{mostP99, mostRatio * mostP99, true},
		{mostP99, mostRatio*mostP99 + 1, false},
	} {
		var r result
		r.alone(sampleOf(map[time.Duration]int{c.alone: 100}))
		r.beside(sampleOf(map[time.Duration]int{c.beside: 100}), counts{}, time.Second)
		if r.fast() != c.fast || !r.kept() {
			t.Errorf("%v beside %v: fast %t, kept %t", c.beside, c.alone, r.fast(), r.kept())
		}
	}
}

func TestQuantiles_AreOfAllRequests(t *testing.T) {
	t.Parallel()
	got := quantilesOf(sampleOf(map[time.Duration]int{1: 980, 2: 19, 3: 1}).latencies)
	if want := (quantiles{1, 2, 3}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestReport_OneBrokenAttackBreaksIt(t *testing.T) {
	t.Parallel()
	bad := &result{Attack: "bad"}
	refused := sampleOf(map[time.Duration]int{time.Second: 10})
	refused.refuse(errRefused)
	bad.beside(refused, counts{}, time.Second)
	fine := &result{Attack: "fine"}
	fine.beside(sampleOf(map[time.Duration]int{time.Millisecond: 10}), counts{}, time.Second)
	r := report{Results: []*result{fine}}
	if !r.kept() {
		t.Error("it is broken without a broken attack")
	}
	r.Results = append(r.Results, bad)
	if r.kept() {
		t.Error("it is kept with a broken attack")
	}
	if line := r.figures(); !strings.Contains(line, "1 of 20 requests refused") || !strings.Contains(line, "holds beside 1 of 2, at worst 1000.0 ms") {
		t.Error(line)
	}
}
