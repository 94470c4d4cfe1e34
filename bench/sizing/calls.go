package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/bench/load"
)

// changed is how many projects the updates take turns with, so that few calls wait for
// each other's rows.
const changed = 64

const changedID = "01a20a28-0e1d-775f-8861-%012d"

// create appends a createProject with a description of so many bytes.
func create(description int) func(out []byte, n int) []byte {
	text := strings.Repeat("x", description)
	return func(out []byte, n int) []byte {
		return fmt.Appendf(out, `{"query":"mutation ($input: CreateProjectInput!, $key: String!) { createProject(input: $input, idempotencyKey: $key) { project { id } } }",`+
			`"variables":{"input":{"name":"Project %d","description":"%s"},"key":"%s"}}`, n, text, uuid.NewString())
	}
}

func update(out []byte, n int) []byte {
	return fmt.Appendf(out, `{"query":"mutation ($input: UpdateProjectInput!, $key: String!) { updateProject(input: $input, idempotencyKey: $key) { project { id } } }",`+
		`"variables":{"input":{"id":"`+changedID+`","name":"Project %d"},"key":"%s"}}`, n%changed, n, uuid.NewString())
}

func executed(_, status int, answer []byte) error {
	if status != 200 || !bytes.Contains(answer, []byte(`"status":"EXECUTED"`)) {
		return fmt.Errorf("%d %s", status, answer)
	}
	return nil
}

func (m *measuring) load(callers int, request func(out []byte, n int) []byte) load.Load {
	return load.Load{
		Address: m.server.URL.Host, Path: "/graphql", Connections: callers, Duration: m.duration,
		Request: request, Check: executed,
	}
}

// rates measures how many calls a server executes, how long they take, what of the log
// they write, and how many locks they hold at once.
func (m *measuring) rates(ctx context.Context) error {
	for n := range changed {
		if _, err := m.conn.Exec(ctx, `insert into projects (tenant, id, name, created_at, updated_at)
			values ('', $1, 'Changed', now(), now())`, fmt.Sprintf(changedID, n)); err != nil {
			return err
		}
	}
	for _, kind := range []struct {
		name    string
		callers int
		request func(out []byte, n int) []byte
	}{
		{"`createProject`, 1 caller", 1, create(20)},
		{"`createProject`, 64 callers", 64, create(20)},
		{"`createProject`, 512 callers", 512, create(20)},
		{"`createProject`, 64 callers, 2 KB of description", 64, create(2000)},
		{"`updateProject`, 1 caller", 1, update},
		{"`updateProject`, 64 callers", 64, update},
	} {
		if _, err := m.conn.Exec(ctx, `checkpoint`); err != nil {
			return err
		}
		const position = `select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8`
		before, err := m.number(ctx, position)
		if err != nil {
			return err
		}
		locks, stop := m.watchLocks(ctx)
		result, err := load.Run(m.load(kind.callers, kind.request))
		stop()
		if err != nil {
			return err
		}
		after, err := m.number(ctx, position)
		if err != nil {
			return err
		}
		m.row(kind.name, "%.0f calls/s, median %.1f ms, %.1f KB of WAL a call, at most %d locks",
			result.PerSecond(), result.Quantile(0, 0.5).Seconds()*1000, (after-before)/float64(result.Requests)/1000, locks.Load())
	}
	return nil
}

// watchLocks keeps the most locks of keys that were seen at once, until stop.
func (m *measuring) watchLocks(ctx context.Context) (most *atomic.Int64, stop func()) {
	most = new(atomic.Int64)
	watching, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := pgx.Connect(ctx, m.owner)
		if err != nil {
			return
		}
		defer func() { _ = conn.Close(ctx) }()
		for watching.Err() == nil {
			var n int64
			if err := conn.QueryRow(ctx, `select count(*) from pg_locks where locktype = 'advisory' and granted`).Scan(&n); err == nil && n > most.Load() {
				most.Store(n)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	return most, func() {
		cancel()
		<-done
	}
}

// memory measures what calls in flight take of the server, and a connection of PostgreSQL.
func (m *measuring) memory(ctx context.Context) error {
	const waiting = 2000
	idle, err := m.server.Footprint()
	if err != nil {
		return err
	}
	holder, err := pgx.Connect(ctx, m.owner)
	if err != nil {
		return err
	}
	defer func() { _ = holder.Close(ctx) }()
	for _, sql := range []string{`begin`, `lock table projects in exclusive mode`} {
		if _, err := holder.Exec(ctx, sql); err != nil {
			return err
		}
	}
	// Each caller sends one call, which waits for the lock, and is answered after it.
	held := m.load(waiting, create(20))
	held.Requests = waiting
	held.Check = func(int, int, []byte) error { return nil }
	done := make(chan error, 1)
	go func() {
		_, err := load.Run(held)
		done <- err
	}()
	most := idle.Memory
	for range 15 {
		time.Sleep(100 * time.Millisecond)
		now, err := m.server.Footprint()
		if err != nil {
			return err
		}
		most = max(most, now.Memory)
	}
	if _, err := holder.Exec(ctx, `rollback`); err != nil {
		return err
	}
	if err := <-done; err != nil {
		return err
	}
	m.row("memory of a server after these loads", "%.0f MB", float64(idle.Memory)/1e6)
	m.row(fmt.Sprintf("each of %d calls in flight", waiting), "%.0f KB more", float64(most-idle.Memory)/waiting/1e3)
	rows, _ := m.conn.Query(ctx, `select pid from pg_stat_activity where application_name = 'onceql' and usename = 'bench'`)
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		return err
	}
	var private float64
	for _, pid := range pids {
		n, err := privateOf(pid)
		if err != nil {
			return err
		}
		private += n
	}
	m.row("connections of a server", "%d", len(pids))
	m.row("memory of PostgreSQL for each, besides what is shared", "%.1f MB", private/float64(max(1, len(pids)))/1e6)
	return nil
}

// privateOf is the memory that is the process's own, in bytes.
// https://docs.kernel.org/filesystems/proc.html (smaps_rollup)
func privateOf(pid int) (bytes float64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && strings.HasPrefix(fields[0], "Private_") {
			n, err := strconv.ParseFloat(fields[1], 64)
			if err != nil {
				return 0, err
			}
			bytes += n * 1024
		}
	}
	return bytes, nil
}
