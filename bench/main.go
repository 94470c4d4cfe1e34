// Bench measures OnceQL beside its floor and its peers, on one machine and one
// PostgreSQL, interleaved, and checks every answer.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/bench/postgres"
	"github.com/onceql/onceql/bench/program"
)

func main() {
	postgres.Supervise()
	rounds := flag.Int("rounds", 3, "interleaved rounds")
	duration := flag.Duration("duration", 1500*time.Millisecond, "of one load")
	ref := flag.String("against", "", "compare with the build of this git revision, and with nothing else")
	var with sides
	flag.Var(&with, "with", "beside -against: this build with settings, as \"name: VARIABLE=value VARIABLE=value\"; may be repeated")
	only := flag.String("only", "", "beside -against: the loads whose names match the regular expression, and no others")
	stored := flag.Int("growth", 0, "measure with up to so many stored keys as well, and during a purge")
	out := flag.String("out", "", "directory for figures.json and the plots; none: the table alone")
	flag.Parse()
	ctx := context.Background()
	server, err := postgres.Start(ctx)
	if err != nil {
		log.Fatal(err)
	}
	if *ref != "" {
		err = runAgainst(ctx, server, against{*ref, with, *only, *rounds, *duration, *out})
	} else {
		err = run(ctx, server, *rounds, *duration, *stored, *out)
	}
	if err := errors.Join(err, server.Stop(ctx)); err != nil {
		log.Fatal(err)
	}
}

// run measures OnceQL beside its floor and its peers.
func run(ctx context.Context, server *postgres.Server, rounds int, duration time.Duration, stored int, out string) error {
	programs, err := build(server.Work)
	if err != nil {
		return err
	}
	set, err := startAll(ctx, server.URL(), programs, server.Work)
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
		g := growth{server.URL(), programs, rounds, duration}
		measures, err := g.measure(ctx, stored)
		if err != nil {
			return err
		}
		report.add(measures)
	}
	if err := report.environment(ctx, server.URL(), duration, rounds); err != nil {
		return err
	}
	report.compare()
	report.print(os.Stdout)
	if out == "" {
		return nil
	}
	return errors.Join(report.write(out, "figures.json"), report.draw(out))
}

// programs are the paths of what is measured.
type programs struct{ onceql, floor, naive, tenants string }

func build(dir string) (programs, error) {
	p := programs{
		filepath.Join(dir, "onceql"), filepath.Join(dir, "floor"), filepath.Join(dir, "naive"), filepath.Join(dir, "tenants"),
	}
	err := program.Build("..", p.onceql)
	for source, path := range map[string]string{"./floor": p.floor, "./naive": p.naive, "./tenants": p.tenants} {
		err = errors.Join(err, program.Build(source, path))
	}
	return p, err
}

// startOnceQL starts a build of it as its operators should: as a role that owns
// nothing.
func startOnceQL(name, database, path string, settings ...string) (*target, error) {
	return start(name, database, graphQL{}, append(program.Env(database), settings...), path)
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

func startAll(ctx context.Context, server string, programs programs, work string) (*targets, error) {
	s := &targets{}
	databases := map[string]string{}
	for _, name := range []string{"onceql", "floor", "naive", "express", "pgbench", "tenants"} {
		address, err := postgres.NewDatabase(ctx, server, name)
		if err != nil {
			return nil, err
		}
		databases[name] = address
		if name == "naive" || name == "pgbench" || name == "tenants" {
			if err := program.Migrate(programs.onceql, address); err != nil {
				return nil, err
			}
		}
	}
	var err error
	if s.onceql, err = startOnceQL("onceql", databases["onceql"], programs.onceql); err != nil {
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
	if s.tenants, err = start("tenants", postgres.AsRole(databases["tenants"]), graphQL{}, nil, programs.tenants); err != nil {
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

// prepare makes projects to update, of which the one whose name begins with "Slow" takes
// 50 ms in its effect, and lets the database refuse the name "Poison".
func prepare(ctx context.Context, database string) error {
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	statements := []string{
		`create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.05); return new; end $$`,
		`create trigger slow before update on projects for each row when (new.name like 'Slow%') execute function slow()`,
		`alter table projects add constraint poison check (name <> 'Poison')`,
		`insert into projects (tenant, id, name, created_at, updated_at) values ('', '` + string(slowProject) + `', 'Slow', now(), now())`,
	}
	for n := range updatedProjects {
		statements = append(statements, `insert into projects (tenant, id, name, created_at, updated_at) values ('', '`+
			fmt.Sprintf(updatedProject, n)+`', 'Updated', now(), now())`)
	}
	for _, sql := range statements {
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
			take(distinct(t, connections, duration))
		}
		if connections <= 64 { // As many as OnceQL's goal is set against.
			perSecond, err := s.pgbench.run(connections, max(duration, 2*time.Second))
			take([]measure{{fmt.Sprintf("distinct keys, %d", connections), "pgbench", perSecond, "/s"}}, err)
		}
	}
	for _, t := range []*target{s.onceql, s.floor} {
		take(replays(t, 64, 1, duration))
		take(replays(t, 64, 10_000, duration))
		take(burst(t, 1000))
	}
	take(replaysOfUpdates(s.onceql, 64, 10_000, duration))
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
