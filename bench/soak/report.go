package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// settled are the samples once all has its size: the purge has been there, and autovacuum
// after it.
func settled(samples []sample) []sample { return samples[len(samples)*2/5:] }

// slope is by how much the n-th series grows in an hour, by least squares, and its mean.
func slope(samples []sample, n int) (perHour, mean float64) {
	var at, value float64
	for _, s := range samples {
		at += s.at.Hours()
		value += s.values[n]
	}
	count := float64(len(samples))
	at, value = at/count, value/count
	var product, square float64
	for _, s := range samples {
		product += (s.at.Hours() - at) * (s.values[n] - value)
		square += (s.at.Hours() - at) * (s.at.Hours() - at)
	}
	return product / square, value
}

// flat says whether the n-th series grows by no more than it may while it is watched.
func flat(samples []sample, n int) bool {
	perHour, mean := slope(samples, n)
	watched := (samples[len(samples)-1].at - samples[0].at).Hours()
	return perHour*watched <= math.Max(all[n].share*mean, all[n].little*all[n].scale)
}

// report writes the line of figures.
func report(out io.Writer, o options, samples []sample, done restarts) bool {
	last, watched := samples[len(samples)-1], settled(samples)
	var figures []string
	verdict, isFlat := "all is flat", true
	for n, s := range all {
		perHour, mean := slope(watched, n)
		figure := fmt.Sprintf("%s %.3g %s (%+.2g/h)", s.name, mean/s.scale, s.unit, perHour/s.scale)
		if !flat(watched, n) {
			figure += " GROWS"
			verdict, isFlat = "it grows", false
		}
		figures = append(figures, strings.ReplaceAll(figure, "  ", " "))
	}
	fmt.Fprintf(out, "soak: %s, %d requests, %d sent again, %d keys purged, restarts: %d of a server, %d of an engine, %d of all connections; %s; %s\n",
		o.duration.Round(time.Second), last.requests, last.retries, last.removed, done.servers, done.engines, done.databases,
		strings.Join(figures, ", "), verdict)
	return isFlat
}
