package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// A plot draws figures of several loads or targets as lines over ticks.
type plot struct {
	file, title, unit string
	ticks             []tick
	lines             []line
}

// A tick is a place on the horizontal axis, from 0 to 1.
type tick struct {
	label string
	at    float64
}

// A line has a figure for each tick, or none.
type line struct {
	name, colour string
	load         func(tick int) (load, target string)
}

var colours = map[string]string{
	"onceql": "#1f6feb", "floor": "#8b949e", "naive": "#d29922", "express": "#3fb950", "pgbench": "#a371f7",
}

var connections = []int{1, 16, 64, 256}

// overConnections plots all targets.
func overConnections(file, title, unit, suffix string) plot {
	p := plot{file: file, title: title, unit: unit}
	for _, n := range connections {
		p.ticks = append(p.ticks, tick{fmt.Sprint(n), math.Log2(float64(n)) / 8})
	}
	for _, target := range []string{"onceql", "floor", "naive", "express", "pgbench"} {
		p.lines = append(p.lines, line{target, colours[target], func(i int) (string, string) {
			return fmt.Sprintf("distinct keys, %d%s", connections[i], suffix), target
		}})
	}
	return p
}

// overStored plots the kinds of keys.
func overStored() plot {
	p := plot{file: "growth.svg", title: "Distinct keys, 64 connections: requests per second over stored keys", unit: "/s"}
	numbers := stocks(10_000_000)
	for i, n := range numbers {
		p.ticks = append(p.ticks, tick{fmt.Sprintf("%.0e", float64(n)), float64(i) / float64(len(numbers)-1)})
	}
	p.ticks[0].label = "0"
	for kind, colour := range map[string]string{"time-ordered": "#1f6feb", "random": "#d29922"} {
		p.lines = append(p.lines, line{kind, colour, func(i int) (string, string) { return stored(kind, numbers[i]), "onceql" }})
	}
	return p
}

var plots = []plot{
	overConnections("throughput.svg", "Distinct keys: requests per second over connections", "/s", ""),
	overConnections("latency-p50.svg", "Distinct keys: median latency over connections", "ms", ", median latency"),
	overConnections("latency-p99.svg", "Distinct keys: 99th percentile of latency over connections", "ms", ", p99 latency"),
	overStored(),
}

const (
	width, height            = 640.0, 360.0
	left, right, top, bottom = 70.0, 110.0, 40.0, 40.0
)

// draw writes the plot as SVG: the medians of the rounds as lines and their spread
// as bars.
func (p plot) draw(r *report, dir string) error {
	var most float64
	for _, l := range p.lines {
		for i := range p.ticks {
			if f := r.figure(l.load(i)); f != nil {
				most = max(most, f.Max)
			}
		}
	}
	if most == 0 {
		return nil
	}
	x := func(t tick) float64 { return left + (width-left-right)*t.at }
	y := func(value float64) float64 { return height - bottom - (height-top-bottom)*value/most }

	var svg strings.Builder
	fmt.Fprintf(&svg, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&svg, `<rect width="%g" height="%g" fill="white"/><text x="%g" y="22" font-size="14">%s</text>`+"\n", width, height, left, p.title)
	for i := range 5 {
		value := most * float64(i) / 4
		fmt.Fprintf(&svg, `<line x1="%g" x2="%g" y1="%.1f" y2="%.1f" stroke="#e5e5e5"/><text x="%g" y="%.1f" text-anchor="end">%.3g %s</text>`+"\n",
			left, width-right, y(value), y(value), left-6, y(value)+4, value, p.unit)
	}
	for _, t := range p.ticks {
		fmt.Fprintf(&svg, `<text x="%.1f" y="%g" text-anchor="middle">%s</text>`+"\n", x(t), height-bottom+18, t.label)
	}
	for _, l := range p.lines {
		var points []string
		var last float64
		for i, t := range p.ticks {
			f := r.figure(l.load(i))
			if f == nil {
				continue
			}
			last = y(f.Median)
			points = append(points, fmt.Sprintf("%.1f,%.1f", x(t), last))
			fmt.Fprintf(&svg, `<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" stroke="%s"/>`+"\n", x(t), x(t), y(f.Min), y(f.Max), l.colour)
		}
		if len(points) > 0 {
			fmt.Fprintf(&svg, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/><text x="%g" y="%.1f" fill="%s">%s</text>`+"\n",
				strings.Join(points, " "), l.colour, width-right+8, last+4, l.colour, l.name)
		}
	}
	svg.WriteString("</svg>\n")
	return os.WriteFile(filepath.Join(dir, p.file), []byte(svg.String()), 0o644)
}
