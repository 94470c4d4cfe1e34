// Bench measures OnceQL beside its floor and its peers, on one machine and one
// PostgreSQL, interleaved, and checks every answer.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/db"
)

func main() {
	db.SuperviseEmbedded()
	rounds := flag.Int("rounds", 3, "interleaved rounds")
	duration := flag.Duration("duration", 1500*time.Millisecond, "of one load")
	stored := flag.Int("growth", 0, "measure with up to so many stored keys as well, and during a purge")
	out := flag.String("out", "", "directory for figures.json and the plots; none: the table alone")
	flag.Parse()
	if err := run(context.Background(), *rounds, *duration, *stored, *out); err != nil {
		log.Fatal(err)
	}
}

// postgresParameters are the same for all. Commits are durable: fsync and
// synchronous_commit stay on.
var postgresParameters = map[string]string{
	"max_connections":    "200",
	"shared_buffers":     "512MB",
	"max_wal_size":       "4GB",
	"checkpoint_timeout": "30min",
	"wal_compression":    "off",
	"autovacuum_naptime": "10s",
}

func run(ctx context.Context, rounds int, duration time.Duration, stored int, out string) error {
	work, err := os.MkdirTemp("", "onceql-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	// For root it is another user that runs PostgreSQL in there.
	if err := os.Chmod(work, 0o755); err != nil {
		return err
	}
	programs, err := build(work)
	if err != nil {
		return err
	}
	postgres, err := db.StartEmbedded(ctx, db.EmbeddedConfig{Dir: filepath.Join(work, "postgres"), Parameters: postgresParameters})
	if err != nil {
		return err
	}
	defer func() { _ = postgres.Stop(ctx) }()
	set, err := startAll(ctx, postgres.URL(), programs, work)
	if err != nil {
		return err
	}
	defer set.stop()

	var report report
	for round := range rounds + 1 {
		measures, err := set.round(duration)
		if err != nil {
			return err
		}
		if round > 0 { // The first one warms up.
			report.add(measures)
		}
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round, rounds)
	}
	if stored > 0 {
		set.stop()
		g := growth{postgres.URL(), programs, rounds, duration}
		measures, err := g.measure(ctx, stored)
		if err != nil {
			return err
		}
		report.add(measures)
	}
	if err := report.environment(ctx, postgres.URL(), duration, rounds); err != nil {
		return err
	}
	report.print(os.Stdout)
	if out == "" {
		return nil
	}
	return report.write(out)
}

// programs are the paths of what is measured.
type programs struct{ onceql, floor, naive, tenants string }

func build(dir string) (programs, error) {
	p := programs{
		filepath.Join(dir, "onceql"), filepath.Join(dir, "floor"), filepath.Join(dir, "naive"), filepath.Join(dir, "tenants"),
	}
	for _, args := range [][]string{
		{"-C", "..", "build", "-buildvcs=false", "-o", p.onceql, "."},
		{"build", "-buildvcs=false", "-o", p.floor, "./floor"},
		{"build", "-buildvcs=false", "-o", p.naive, "./naive"},
		{"build", "-buildvcs=false", "-o", p.tenants, "./tenants"},
	} {
		if output, err := exec.Command("go", args...).CombinedOutput(); err != nil {
			return p, fmt.Errorf("go %v: %w\n%s", args, err, output)
		}
	}
	return p, nil
}

// migrate brings the database to the schema.
func (p programs) migrate(database string) error {
	migrate := exec.Command(p.onceql, "migrate", "up")
	migrate.Env = append(os.Environ(), "DATABASE_URL="+asRole(database), "MIGRATION_DATABASE_URL="+database)
	if output, err := migrate.CombinedOutput(); err != nil {
		return fmt.Errorf("migrating: %w\n%s", err, output)
	}
	return nil
}

// startOnceQL starts it as its operators should: as a role that owns nothing.
func startOnceQL(database string, p programs) (*target, error) {
	return start("onceql", asRole(database), graphQL{}, []string{"MIGRATION_DATABASE_URL=" + database}, p.onceql)
}

// targets are all that is measured.
type targets struct {
	onceql, floor, naive, express, tenants *target
	pgbench                                pgbench
}

// all are the servers that are compared.
func (s *targets) all() []*target { return []*target{s.onceql, s.floor, s.naive, s.express} }

func (s *targets) stop() {
	for _, t := range append(s.all(), s.tenants) {
		t.stop()
	}
}

// slowProject is the one that the slow neighbour updates.
var slowProject = []byte("01a20a28-0e1d-775f-8861-2020ed7c5ed6")

func startAll(ctx context.Context, postgres string, programs programs, work string) (*targets, error) {
	s := &targets{}
	databases := map[string]string{}
	for _, name := range []string{"onceql", "floor", "naive", "express", "pgbench", "tenants"} {
		address, err := newDatabase(ctx, postgres, name)
		if err != nil {
			return nil, err
		}
		databases[name] = address
		if name == "naive" || name == "pgbench" || name == "tenants" {
			if err := programs.migrate(address); err != nil {
				return nil, err
			}
		}
	}
	var err error
	if s.onceql, err = startOnceQL(databases["onceql"], programs); err != nil {
		return s, err
	}
	if s.floor, err = start("floor", databases["floor"], graphQL{marksNothing: true}, nil, programs.floor); err != nil {
		return s, err
	}
	if s.naive, err = start("naive", databases["naive"], graphQL{}, nil, programs.naive, "-database", databases["naive"]); err != nil {
		return s, err
	}
	if s.express, err = start("express", databases["express"], rest{}, []string{"NODE_ENV=production"}, "node", "express/server.js"); err != nil {
		return s, err
	}
	if s.tenants, err = start("tenants", asRole(databases["tenants"]), graphQL{}, nil, programs.tenants); err != nil {
		return s, err
	}
	s.pgbench = pgbench{database: databases["pgbench"], script: filepath.Join(work, "claim.sql")}
	if s.pgbench.program, err = findPgbench(); err != nil {
		return s, err
	}
	if err := os.WriteFile(s.pgbench.script, []byte(claim), 0o644); err != nil {
		return s, err
	}
	return s, prepare(ctx, databases["onceql"])
}

func findPgbench() (string, error) {
	if path, err := exec.LookPath("pgbench"); err == nil {
		return path, nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pgbench")
	if len(found) == 0 {
		return "", fmt.Errorf("pgbench is not installed: it comes with PostgreSQL")
	}
	return found[len(found)-1], nil
}

// prepare makes every updateProject take 50 ms in its effect, and lets the
// database refuse the project "Poison".
func prepare(ctx context.Context, database string) error {
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, sql := range []string{
		`create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.05); return new; end $$`,
		`create trigger slow before update on projects for each statement execute function slow()`,
		`alter table projects add constraint poison check (name <> 'Poison')`,
		`insert into projects (tenant, id, name, created_at, updated_at) values ('', '` + string(slowProject) + `', 'Slow', now(), now())`,
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// round takes every measure once.
func (s *targets) round(duration time.Duration) ([]measure, error) {
	var all []measure
	var failure error
	take := func(measures []measure, err error) {
		all = append(all, measures...)
		if failure == nil {
			failure = err
		}
	}
	for _, connections := range connections {
		for _, t := range s.all() {
			t.resetMemory()
			take(distinct(t, connections, duration))
			if connections == 256 {
				take([]measure{{"memory, 256 connections", t.name, float64(t.peakMemory()) / (1 << 20), "MiB"}}, nil)
			}
		}
		if connections <= 64 { // As many as OnceQL's goal is set against.
			perSecond, err := s.pgbench.run(connections, max(duration, 2*time.Second))
			take([]measure{{fmt.Sprintf("distinct keys, %d", connections), "pgbench", perSecond, "/s"}}, err)
		}
	}
	for _, t := range []*target{s.onceql, s.floor} {
		take(replays(t, 64, 1, duration))
		take(replays(t, 64, 10_000, duration))
		take(storm(t, 1000))
	}
	for _, tenants := range []int{1, 1000} {
		take(ofTenants(s.tenants, 256, tenants, duration))
	}
	for _, t := range []*target{s.onceql, s.naive} {
		take(mix(t, 64, duration))
	}
	for _, poison := range poisons {
		take(poisoned(s.onceql, 256, poison, duration))
	}
	for _, slow := range []bool{false, true} {
		take(neighbour(s.onceql, 64, slow, duration))
	}
	return all, failure
}

func contains(answer []byte, text string) bool { return bytes.Contains(answer, []byte(text)) }
