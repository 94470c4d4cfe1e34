package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// A plot draws one figure of several targets over the number of connections.
type plot struct {
	file, title, unit string
	// suffix is what the names of its loads end in.
	suffix string
}

var plots = []plot{
	{"throughput.svg", "Distinct keys: requests per second over connections", "/s", ""},
	{"latency-p50.svg", "Distinct keys: median latency over connections", "ms", ", median latency"},
	{"latency-p99.svg", "Distinct keys: 99th percentile of latency over connections", "ms", ", p99 latency"},
}

var colours = map[string]string{
	"onceql": "#1f6feb", "floor": "#8b949e", "naive": "#d29922", "express": "#3fb950", "pgbench": "#a371f7",
}

const (
	width, height            = 640.0, 360.0
	left, right, top, bottom = 70.0, 110.0, 40.0, 40.0
)

// draw writes the plot as SVG: connections on a logarithmic axis, the medians of
// the rounds as lines and their spread as bars.
func (p plot) draw(r *report, dir string) error {
	var most float64
	for _, f := range r.Figures {
		if p.connections(f) > 0 {
			most = max(most, f.Max)
		}
	}
	if most == 0 {
		return nil
	}
	x := func(connections float64) float64 {
		return left + (width-left-right)*math.Log2(connections)/math.Log2(256)
	}
	y := func(value float64) float64 { return height - bottom - (height-top-bottom)*value/most }

	var svg strings.Builder
	fmt.Fprintf(&svg, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&svg, `<rect width="%g" height="%g" fill="white"/><text x="%g" y="22" font-size="14">%s</text>`+"\n", width, height, left, p.title)
	for i := range 5 {
		value := most * float64(i) / 4
		fmt.Fprintf(&svg, `<line x1="%g" x2="%g" y1="%.1f" y2="%.1f" stroke="#e5e5e5"/><text x="%g" y="%.1f" text-anchor="end">%.3g %s</text>`+"\n",
			left, width-right, y(value), y(value), left-6, y(value)+4, value, p.unit)
	}
	for _, connections := range []float64{1, 16, 64, 256} {
		fmt.Fprintf(&svg, `<text x="%.1f" y="%g" text-anchor="middle">%g</text>`+"\n", x(connections), height-bottom+18, connections)
	}
	for _, target := range []string{"onceql", "floor", "naive", "express", "pgbench"} {
		var points []string
		var last float64
		for _, f := range r.Figures {
			connections := p.connections(f)
			if f.Target != target || connections == 0 {
				continue
			}
			px := x(float64(connections))
			last = y(f.Median)
			points = append(points, fmt.Sprintf("%.1f,%.1f", px, last))
			fmt.Fprintf(&svg, `<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" stroke="%s"/>`+"\n", px, px, y(f.Min), y(f.Max), colours[target])
		}
		if len(points) == 0 {
			continue
		}
		fmt.Fprintf(&svg, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/><text x="%g" y="%.1f" fill="%s">%s</text>`+"\n",
			strings.Join(points, " "), colours[target], width-right+8, last+4, colours[target], target)
	}
	svg.WriteString("</svg>\n")
	return os.WriteFile(filepath.Join(dir, p.file), []byte(svg.String()), 0o644)
}

// connections is how many the figure's load has, zero for a load that is not the
// plot's.
func (p plot) connections(f *figure) int {
	var connections int
	for _, n := range []int{1, 16, 64, 256} {
		if f.Load == fmt.Sprintf("distinct keys, %d%s", n, p.suffix) {
			connections = n
		}
	}
	return connections
}
