package main

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// slowCallers are more than there are workers and places in the queue.
	slowCallers = 4500
	slowEffect  = 2 * time.Second
	// filling is how long the slow tenant has to take every place it can get.
	filling = time.Second
)

// takeSlow lets callers of one tenant make calls that run singly, beside another
// tenant whose effects are slow and which takes every place it can get, or beside
// nobody.
func (b bench) takeSlow(ctx context.Context, callers int, slow bool) (outcome, error) {
	var o outcome
	pool, err := b.open(ctx)
	if err != nil {
		return o, err
	}
	defer pool.Close()
	if _, err := pool.Exec(ctx, empty); err != nil {
		return o, err
	}
	e := newEngine(pool, 0) // The default: longer than an effect.
	neighbours, leave := context.WithCancel(ctx)
	defer leave()
	var running sync.WaitGroup
	if slow {
		for i := range slowCallers {
			running.Go(func() { occupies(neighbours, e, strconv.Itoa(i)) })
		}
		time.Sleep(filling)
	}
	begin := time.Now()
	end := begin.Add(b.duration)
	good := make([]tally, callers)
	var measured sync.WaitGroup
	for i := range good {
		measured.Go(func() { good[i] = single(ctx, e, strconv.Itoa(i), end) })
	}
	measured.Wait()
	o.add(begin, good, nil)
	leave()
	running.Wait()
	return o, e.close(ctx)
}

// occupies is one caller of the slow tenant, until ctx ends.
func occupies(ctx context.Context, e engine, key string) {
	for n := 0; ctx.Err() == nil; n++ {
		err := e.single(ctx, "slow", key+" "+strconv.Itoa(n), func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `select pg_sleep($1)`, slowEffect.Seconds())
			return err
		})
		if err != nil { // There was no place: again, as one that retries would.
			select {
			case <-ctx.Done():
			case <-time.After(500 * time.Millisecond):
			}
		}
	}
}

// single is one caller of the tenant that behaves.
func single(ctx context.Context, e engine, caller string, end time.Time) tally {
	t := tally{heard: map[string]int{}}
	for n := 0; ; n++ {
		key := caller + " " + strconv.Itoa(n)
		sent := time.Now()
		if sent.After(end) {
			t.ended = sent
			return t
		}
		err := e.single(ctx, "good", key, func(ctx context.Context, tx pgx.Tx) error {
			return insert(ctx, tx, []*item{{Scope: "good", Input: input{Key: key}}})
		})
		t.latencies = append(t.latencies, time.Since(sent))
		t.heard[hears(err)]++
		if err != nil {
			t.example = err
		}
	}
}
