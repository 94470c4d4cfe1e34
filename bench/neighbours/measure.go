package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/bench/load"
)

const (
	goodTenants = 64
	badTenants  = 3
	// connections are as many as OnceQL's engine has.
	connections = 21
	// warming is how long callers call before they are measured.
	warming = 300 * time.Millisecond
)

// A bench measures on one database.
type bench struct {
	database string
	duration time.Duration
	// wait is how long a call waits at most.
	wait time.Duration
}

// An outcome is what came of calls of good callers, and of bad ones beside them.
type outcome struct {
	good load.Result
	// errors counts good calls that failed; an example is one of them.
	errors  int
	example error
	// heard counts what bad callers heard; slowest is how long one of them waited
	// at most.
	heard   map[string]int
	slowest time.Duration
	// unkeyed counts effects without keys, and keys without effects.
	unkeyed int
}

// A tally is what one caller counts.
type tally struct {
	latencies []time.Duration
	heard     map[string]int
	example   error
	ended     time.Time
}

// take runs the good callers, beside bad ones when bad is not nil.
func (b bench) take(ctx context.Context, bad *behaviour) (outcome, error) {
	var o outcome
	pool, err := b.open(ctx)
	if err != nil {
		return o, err
	}
	defer pool.Close()
	if _, err := pool.Exec(ctx, empty); err != nil {
		return o, err
	}
	e := newEngine(pool, b.wait)
	begin := time.Now().Add(warming)
	end := begin.Add(b.duration)

	var callers sync.WaitGroup
	good, worse := make([]tally, goodTenants), make([]tally, 0, badTenants)
	for i := range good {
		callers.Go(func() { good[i] = calls(ctx, e, "good "+strconv.Itoa(i), nil, begin, end) })
	}
	if bad != nil {
		worse = worse[:badTenants]
	}
	for i := range worse {
		callers.Go(func() { worse[i] = calls(ctx, e, "bad "+strconv.Itoa(i), bad, begin, end) })
	}
	callers.Wait()
	o.add(begin, good, worse)
	if err := e.close(ctx); err != nil {
		return o, err
	}
	if err := pool.QueryRow(ctx, unkeyed).Scan(&o.unkeyed); err != nil {
		return o, err
	}
	if bad == nil && (o.errors > 0 || o.unkeyed > 0) {
		return o, fmt.Errorf("without bad neighbours %d calls failed, such as %w; %d effects have no key", o.errors, o.example, o.unkeyed)
	}
	return o, nil
}

func (b bench) open(ctx context.Context) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(b.database)
	if err != nil {
		return nil, err
	}
	config.MaxConns = connections
	return pgxpool.NewWithConfig(ctx, config)
}

// calls is one caller, with one call at a time and a new key for each.
func calls(ctx context.Context, e engine, tenant string, bad *behaviour, begin, end time.Time) tally {
	t := tally{heard: map[string]int{}}
	for n := 0; ; n++ {
		if bad != nil && bad.pause > 0 {
			time.Sleep(rand.N(bad.pause))
		}
		sent := time.Now()
		if sent.After(end) {
			t.ended = sent
			return t
		}
		err := e.note(ctx, tenant, input{Key: strconv.Itoa(n), Bad: bad})
		if sent.Before(begin) && err == nil {
			continue
		}
		t.latencies = append(t.latencies, time.Since(sent))
		t.heard[hears(err)]++
		if err != nil && t.example == nil {
			t.example = err
		}
	}
}

func (o *outcome) add(begin time.Time, good, bad []tally) {
	var all []time.Duration
	for _, t := range good {
		o.good.Elapsed = max(o.good.Elapsed, t.ended.Sub(begin))
		all = append(all, t.latencies...)
		o.good.Requests += t.heard[done]
		o.errors += len(t.latencies) - t.heard[done]
		if t.example != nil {
			o.example = t.example
		}
	}
	slices.Sort(all)
	o.good.Latencies = [][]time.Duration{all}
	o.heard = map[string]int{}
	for _, t := range bad {
		for heard, n := range t.heard {
			o.heard[heard] += n
		}
		o.slowest = max(o.slowest, slices.Max(append(t.latencies, 0)))
	}
}

// prepare makes the tables, and locks the row that bad callers wait for until
// release is called.
func prepare(ctx context.Context, database string) (release func(), err error) {
	pool, err := pgxpool.New(ctx, database)
	if err != nil {
		return nil, err
	}
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	var failed error
	for _, sql := range []string{schema, tables, `begin`, `select id from held for update`} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	return func() { conn.Release(); pool.Close() }, failed
}
