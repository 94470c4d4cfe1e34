package main

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/onceql/onceql/bench/postgres"
	"github.com/onceql/onceql/bench/program"
)

const (
	// filling is how long an attack goes on before anything is measured beside it.
	filling = 500 * time.Millisecond
	// warming is how long a server works before anything is measured.
	warming = time.Second
	// settling is how long it may take before it is as fast as it can be.
	settling = 15 * time.Second
	// settled is what a create takes then.
	settled = 50 * time.Millisecond
	// recovery is how long the memory may take to come back.
	recovery = time.Minute
	// longest is how long an attack with a total may take.
	longest = time.Minute
)

// A bench is what each attack is measured with. Each one has a server of its own, so that
// nothing is left of the one before but in the database.
type bench struct {
	options
	issuer         *issuer
	path, database string
	server         *program.Server
	good           *good
}

func newBench(ctx context.Context, database *postgres.Server, i *issuer, o options) (*bench, error) {
	b := &bench{options: o, issuer: i, good: &good{}}
	token, err := i.token("good")
	if err != nil {
		return nil, err
	}
	b.good.header = []byte("Authorization: Bearer " + token + "\r\n")
	b.path, b.database, err = prepare(ctx, database, o.sources)
	return b, err
}

// start starts the server, and has it do what it does once.
func (b *bench) start() (err error) {
	env := append(program.Env(b.database), "AUTH_ISSUER="+b.issuer.server.URL, "AUTH_AUDIENCE="+audience, "LOG_LEVEL=warn")
	if b.server, err = program.Start(append(env, strings.Fields(b.env)...), b.path); err != nil {
		return err
	}
	b.good.address, b.good.path = b.server.URL.Host, b.server.URL.Path
	b.settle()
	b.observe(after(warming))
	return nil
}

// observe lets the good tenant and the prober work until over.
func (b *bench) observe(over <-chan struct{}) sample {
	var probes sample
	var probing sync.WaitGroup
	probing.Go(func() { probes = probe("http://"+b.server.URL.Host+"/readyz", over) })
	s := b.good.run(over)
	probing.Wait()
	s.probes, s.unready = probes.probes, probes.unready
	if s.example == "" {
		s.example = probes.example
	}
	return s
}

// after is closed after the duration.
func after(d time.Duration) <-chan struct{} {
	over := make(chan struct{})
	time.AfterFunc(d, func() { close(over) })
	return over
}

// take measures without the attack and beside it, and adds both to the result.
func (b *bench) take(ctx context.Context, a *attack, r *result) error {
	if err := b.start(); err != nil {
		return err
	}
	defer b.server.Stop()
	r.alone(b.observe(after(b.quiet)))
	if err := b.server.ResetPeak(); err != nil {
		return err
	}
	before, err := b.server.Footprint()
	if err != nil {
		return err
	}
	seen, err := b.beside(ctx, a)
	if err != nil {
		return err
	}
	r.beside(seen.sample, seen.counts, seen.took)
	now, err := b.server.Footprint()
	if err != nil {
		return err
	}
	m := memory{Before: before.Memory, Peak: now.Peak, After: now.Memory}
	if a.total {
		if err := b.recover(&m, r); err != nil {
			return err
		}
	}
	r.memory(m)
	return nil
}

// settle waits until the server is as fast as it is when nobody attacks it: PostgreSQL may
// still do what the attack before has asked of it.
func (b *bench) settle() {
	for start := time.Now(); time.Since(start) < settling; {
		time.Sleep(500 * time.Millisecond)
		sent := time.Now()
		c, err := b.good.create(nil)
		if err == nil {
			c.Close()
			if time.Since(sent) < settled {
				return
			}
		}
	}
}

// A scene is what was seen beside an attack.
type scene struct {
	sample
	counts
	took time.Duration
}

// beside measures beside the attack.
func (b *bench) beside(ctx context.Context, a *attack) (scene, error) {
	token, err := b.issuer.token(a.tenant)
	if err != nil {
		return scene{}, err
	}
	var bytes int64
	if a.total {
		bytes = b.memory
	}
	ctx, cancel := context.WithTimeout(ctx, longest+recovery)
	defer cancel()
	start := time.Now()
	p, err := startAttacker(ctx, a, b.server.URL.Host, b.server.URL.Path, token, bytes)
	if err != nil {
		return scene{}, err
	}
	over := after(b.attack)
	if a.total {
		over = either(p.ended, after(longest))
	} else {
		time.Sleep(filling)
	}
	s := scene{sample: b.observe(over)}
	s.counts, err = p.stop()
	s.took = time.Since(start)
	return s, err
}

// either is closed after the first of both.
func either(a, b <-chan struct{}) <-chan struct{} {
	over := make(chan struct{})
	go func() {
		defer close(over)
		select {
		case <-a:
		case <-b:
		}
	}()
	return over
}

// recover waits until the memory is back, while the good tenant goes on.
func (b *bench) recover(m *memory, r *result) error {
	start := time.Now()
	for !m.back() && time.Since(start) < recovery {
		s := b.observe(after(time.Second))
		r.counts(s)
		f, err := b.server.Footprint()
		if err != nil {
			return err
		}
		m.After, m.Took = f.Memory, time.Since(start)
	}
	return nil
}
