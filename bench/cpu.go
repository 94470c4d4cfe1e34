package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// withCPU adds to what a load measures how much processor time each request of its last
// run took of the server and of its database's backends. Where other work takes the
// processors too, that differs less from round to round than the time that passes.
func withCPU(take func(*target) ([]measure, error)) func(*target) ([]measure, error) {
	return func(t *target) ([]measure, error) {
		measures, err := take(t)
		if err != nil {
			return nil, err
		}
		for i, of := range [...]string{"server", "database"} {
			each := float64(t.spent[i].Nanoseconds()) / 1000
			measures = append(measures, measure{measures[0].load + ", CPU of the " + of, t.name, each, "µs"})
		}
		return measures, nil
	}
}

// cpu is the processor time that the server and its database's backends have had.
func (t *target) cpu() (spent [2]time.Duration, err error) {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, t.database)
	if err != nil {
		return spent, err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
	if err != nil {
		return spent, err
	}
	backends, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		return spent, err
	}
	if spent[0], err = cpuOf(t.server.PID()); err != nil {
		return spent, err
	}
	for _, pid := range backends {
		of, err := cpuOf(pid)
		if err != nil {
			return spent, err
		}
		spent[1] += of
	}
	return spent, nil
}

// cpuOf is the processor time that the threads of a process have had.
// https://docs.kernel.org/scheduler/sched-stats.html
func cpuOf(pid int) (time.Duration, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return 0, err
	}
	var total time.Duration
	for _, thread := range threads {
		text, err := os.ReadFile(thread)
		if err != nil {
			continue // It has ended.
		}
		nanoseconds, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		if err != nil {
			return 0, err
		}
		total += time.Duration(nanoseconds)
	}
	return total, nil
}
