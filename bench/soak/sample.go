package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"
)

// A sample is what there is at a moment.
type sample struct {
	at     time.Duration
	values []float64
	// requests and retries were sent so far, and removed are the rows that the purge has
	// removed.
	requests, retries, removed int64
}

// A series is one that must not grow. It may by a share of itself, or by a little in any
// case: tables go up and down with the purge.
type series struct {
	name, unit string
	// scale is how many of what is sampled are one of the unit.
	scale         float64
	share, little float64
}

var all = []series{
	{"memory", "MiB", 1 << 20, 0.15, 12},
	{"threads", "", 1, 0.2, 4},
	{"files", "", 1, 0.1, 12},
	{"goroutines", "", 1, 0.1, 8},
	{"connections", "", 1, 0.1, 6},
	{"keys table", "MiB", 1 << 20, 0.25, 2},
	{"keys indexes", "MiB", 1 << 20, 0.25, 2},
	{"projects table", "MiB", 1 << 20, 0.25, 2},
	{"projects indexes", "MiB", 1 << 20, 0.25, 2},
}

// take takes a sample.
func take(ctx context.Context, start time.Time, d *database, longLived *server, l *load) (sample, error) {
	s := sample{at: time.Since(start), requests: l.sent.Load(), retries: l.again.Load()}
	f, err := longLived.now().Footprint()
	if err != nil {
		return s, err
	}
	var connections, removed int64
	var sizes [4]int64
	err = d.conn.QueryRow(ctx, `
		select (select count(*) from pg_stat_activity where datname = current_database() and backend_type = 'client backend'),
			(select coalesce(n_tup_del, 0) from pg_stat_user_tables where relname = 'idempotency_keys'),
			pg_table_size('idempotency_keys'), pg_indexes_size('idempotency_keys'),
			pg_table_size('projects'), pg_indexes_size('projects')`).
		Scan(&connections, &removed, &sizes[0], &sizes[1], &sizes[2], &sizes[3])
	s.removed = removed
	for _, n := range []int64{
		f.Memory, f.Threads, f.Files, int64(runtime.NumGoroutine()), connections, sizes[0], sizes[1], sizes[2], sizes[3],
	} {
		s.values = append(s.values, float64(n))
	}
	return s, err
}

// restarts counts what was restarted.
type restarts struct{ servers, engines, databases int }

// observe takes samples, and restarts one thing after another: the second server, the
// engine, and all connections of the database.
func observe(ctx context.Context, o options, d *database, servers []*server, l *load, e *engine) ([]sample, restarts, error) {
	start, next := time.Now(), o.restarts
	var done restarts
	var samples []sample
	for time.Since(start) < o.duration {
		time.Sleep(o.every)
		s, err := take(ctx, start, d, servers[0], l)
		if err != nil {
			return nil, done, err
		}
		samples = append(samples, s)
		if err := errors.Join(d.tidy(ctx), l.failure()); err != nil {
			return samples, done, err
		}
		if s.at < next {
			continue
		}
		next += o.restarts
		switch (done.servers + done.engines + done.databases) % 3 {
		case 0:
			servers[1].stop()
			err = servers[1].start()
			done.servers++
		case 1:
			err = e.restart(ctx)
			done.engines++
		case 2:
			err = d.interrupt(ctx)
			done.databases++
		}
		if err != nil {
			return samples, done, err
		}
	}
	return samples, done, nil
}

// write writes the samples as CSV.
func write(path string, samples []sample) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	lines := csv.NewWriter(file)
	head := []string{"seconds", "requests", "retries", "removed"}
	for _, s := range all {
		head = append(head, s.name)
	}
	_ = lines.Write(head) // Flush tells.
	for _, s := range samples {
		line := []string{fmt.Sprintf("%.0f", s.at.Seconds())}
		for _, n := range []int64{s.requests, s.retries, s.removed} {
			line = append(line, strconv.FormatInt(n, 10))
		}
		for _, v := range s.values {
			line = append(line, strconv.FormatFloat(v, 'f', 0, 64))
		}
		_ = lines.Write(line)
	}
	lines.Flush()
	return lines.Error()
}
