package main

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/onceql/onceql/bench/load"
	"github.com/onceql/onceql/bench/program"
)

// A target is a server that is measured.
type target struct {
	name string
	// database is the target's own, on the PostgreSQL that all share.
	database string
	server   *program.Server
	requests requests
	// spent is the processor time that a request of the last run took, of the server and
	// of the database.
	spent [2]time.Duration
}

// start starts a server on the database.
func start(name, database string, requests requests, env []string, path string, args ...string) (*target, error) {
	server, err := program.Start(append([]string{"DATABASE_URL=" + database, "LOG_LEVEL=warn"}, env...), path, args...)
	if err != nil {
		return nil, err
	}
	return &target{name: name, database: database, requests: requests, server: server}, nil
}

func (t *target) stop() {
	if t != nil {
		t.server.Stop()
	}
}

// run sends the load to the target.
func (t *target) run(l load.Load) (load.Result, error) {
	l.Address, l.Path = t.server.URL.Host, t.server.URL.Path
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
