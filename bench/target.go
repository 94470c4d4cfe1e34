package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/bench/load"
)

// A target is a server that is measured.
type target struct {
	name string
	// database is the target's own, on the PostgreSQL that all share.
	database string
	address  string
	path     string
	requests requests
	command  *exec.Cmd
	// spent is the processor time that a request of the last run took, of the server and
	// of the database.
	spent [2]time.Duration
}

// start starts a server that says where its API is, as OnceQL does.
func start(name, database string, requests requests, env []string, program string, args ...string) (*target, error) {
	command := exec.Command(program, args...)
	command.Env = append(append(os.Environ(), "DATABASE_URL="+database, "LISTEN_ADDR=127.0.0.1:0", "LOG_LEVEL=warn"), env...)
	log, err := os.CreateTemp("", "onceql-bench-*.log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	defer os.Remove(log.Name()) // The server writes on; nobody reads it after a run.
	command.Stderr = log
	// A server must not outlive the benchmark.
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) != 2 || fields[0] != "API" {
			continue
		}
		go func() { _, _ = io.Copy(io.Discard, stdout) }()
		api, err := url.Parse(fields[1])
		if err != nil {
			return nil, err
		}
		return &target{name: name, database: database, address: api.Host, path: api.Path, requests: requests, command: command}, nil
	}
	err = command.Wait()
	text, _ := os.ReadFile(log.Name())
	return nil, fmt.Errorf("%s ended before it said where it is: %w\n%s", name, err, text)
}

func (t *target) stop() {
	if t == nil || t.command.ProcessState != nil {
		return
	}
	_ = t.command.Process.Signal(syscall.SIGTERM)
	_ = t.command.Wait()
}

// resetMemory makes peakMemory forget.
func (t *target) resetMemory() {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", t.command.Process.Pid), []byte("5"), 0)
}

// peakMemory is the most memory that the server has had since it was reset, in
// bytes.
func (t *target) peakMemory() int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", t.command.Process.Pid))
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmHWM:" {
			kilobytes, _ := strconv.ParseInt(fields[1], 10, 64)
			return kilobytes << 10
		}
	}
	return 0
}

// run sends the load to the target.
func (t *target) run(l load.Load) (load.Result, error) {
	l.Address, l.Path = t.address, t.path
	before, err := t.cpu()
	if err != nil {
		return load.Result{}, err
	}
	result, err := load.Run(l)
	if err != nil {
		return result, fmt.Errorf("%s: %w", t.name, err)
	}
	after, err := t.cpu()
	for i := range after {
		t.spent[i] = (after[i] - before[i]) / time.Duration(max(1, result.Requests))
	}
	return result, err
}

// asRole returns the database's address for a role that row-level security holds
// back, as OnceQL's own should be.
func asRole(database string) string {
	address, err := url.Parse(database)
	if err != nil {
		return database
	}
	address.User = url.UserPassword("bench", "bench")
	return address.String()
}

// newDatabase makes an empty database and returns its URL.
func newDatabase(ctx context.Context, server, name string) (string, error) {
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, `
		do $$ begin
			create role bench login password 'bench';
		exception when duplicate_object then null;
		end $$`); err != nil {
		return "", err
	}
	if _, err := conn.Exec(ctx, "create database "+pgx.Identifier{name}.Sanitize()); err != nil {
		return "", err
	}
	address, err := url.Parse(server)
	if err != nil {
		return "", err
	}
	address.Path = "/" + name
	return address.String(), nil
}

// pgbench is a program of PostgreSQL that sends one statement over and over.
type pgbench struct{ program, database, script string }

// The claim and the insert in one statement, one transaction each.
const claim = `with claimed as (
	insert into idempotency_keys (scope, key, operation, request_hash, hash_version, response_json, execution_id, created_at, expires_at)
	values ('', gen_random_uuid()::text, 'createProject', sha256('x'), 1,
		'{"project":{"id":"01a20a28-0e1d-775f-8861-2020ed7c5ed6","name":"Project 1234567","description":"Made by a load test"}}',
		gen_random_uuid(), now(), now() + interval '24 hours')
	on conflict do nothing
	returning key
)
insert into projects (tenant, id, name, description, created_at, updated_at)
select '', gen_random_uuid(), 'Project 1234567', 'Made by a load test', now(), now() from claimed returning id
`

func (p pgbench) run(clients int, duration time.Duration) (perSecond float64, err error) {
	// As many threads as cores, as the others have.
	output, err := exec.Command(p.program, "-n", "-M", "prepared", "-c", strconv.Itoa(clients), "-j", "2",
		"-T", strconv.Itoa(int(duration.Seconds())), "-f", p.script, p.database).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("pgbench: %w: %s", err, output)
	}
	for line := range strings.Lines(string(output)) {
		if rest, ok := strings.CutPrefix(line, "tps = "); ok {
			return strconv.ParseFloat(strings.Fields(rest)[0], 64)
		}
	}
	return 0, fmt.Errorf("pgbench said nothing of tps: %s", output)
}
