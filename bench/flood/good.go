package main

import (
	"bytes"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/onceql/onceql/bench/load"
)

const (
	// perSecond is how often the good tenant creates a project, on goodConnections.
	perSecond       = 100
	goodConnections = 8
	// goodPatience is how long it waits for an answer. It sends nothing again.
	goodPatience = 10 * time.Second
	// probeEvery is the pause between two probes, and probePatience how long each waits.
	probeEvery    = 200 * time.Millisecond
	probePatience = 5 * time.Second
)

// A sample is what the good tenant and the prober saw in one round.
type sample struct {
	latencies []time.Duration
	// refused counts answers other than a success, and what was not answered.
	refused int
	// unready counts answers of /readyz other than 200, of so many probes.
	unready, probes int
	// example is the first of either.
	example string
}

// A good tenant creates projects one after another.
type good struct {
	address, path string
	header        []byte
	sent          atomic.Int64
}

// run creates projects until over. Each one has its time, and its latency counts from
// then: who waits because others are late is late too. One that could not be sent in the
// end counts as long as it has waited by then.
func (g *good) run(over <-chan struct{}) sample {
	var (
		s       sample
		mu      sync.Mutex
		next    atomic.Int64
		start   = time.Now()
		sending sync.WaitGroup
	)
	due := func(n int64) time.Time { return start.Add(time.Duration(n) * time.Second / perSecond) }
	for range goodConnections {
		sending.Go(func() {
			var c *load.Client
			defer func() {
				if c != nil {
					c.Close()
				}
			}()
			for {
				select {
				case <-over:
					return
				case <-time.After(time.Until(due(next.Load()))):
				}
				at := due(next.Add(1) - 1)
				time.Sleep(time.Until(at)) // Others may have been faster.
				var err error
				c, err = g.create(c)
				took := time.Since(at)
				mu.Lock()
				s.latencies = append(s.latencies, took)
				if err != nil {
					s.refuse(err)
				}
				mu.Unlock()
			}
		})
	}
	<-over
	ended := time.Now()
	sending.Wait()
	for n := next.Load(); due(n).Before(ended); n++ {
		s.latencies = append(s.latencies, ended.Sub(due(n)))
	}
	return s
}

func (s *sample) refuse(err error) {
	s.refused++
	if s.example == "" {
		s.example = err.Error()
	}
}

// create creates a project on the connection, or on a new one for nil, and returns the
// one for the next.
func (g *good) create(c *load.Client) (*load.Client, error) {
	if c == nil {
		var err error
		if c, err = load.Dial(g.address, g.path); err != nil {
			return nil, err
		}
	}
	body := query(nil, fmt.Sprintf(`mutation{createProject(input:{name:"Good"},idempotencyKey:"%s %d"){project{id}}}`, unique, g.sent.Add(1)))
	_ = c.Conn().SetDeadline(time.Now().Add(goodPatience)) // A connection that is closed fails in Do.
	status, answer, err := c.Do(g.header, body)
	if err != nil {
		c.Close()
		return nil, err
	}
	if status != http.StatusOK || !bytes.Contains(answer, []byte(`"EXECUTED"`)) || bytes.Contains(answer, []byte(`"errors"`)) {
		c.Close() // A server that refuses may close it.
		return nil, fmt.Errorf("%d %s", status, answer[:min(300, len(answer))])
	}
	return c, nil
}

// probe asks /readyz again and again until over, also while an answer is late.
func probe(url string, over <-chan struct{}) sample {
	var (
		s       sample
		mu      sync.Mutex
		probing sync.WaitGroup
	)
	client := &http.Client{Timeout: probePatience, Transport: &http.Transport{DisableKeepAlives: true}}
	ticks := time.NewTicker(probeEvery)
	defer ticks.Stop()
	for {
		probing.Go(func() {
			err := ask200(client, url)
			mu.Lock()
			defer mu.Unlock()
			s.probes++
			if err != nil {
				s.unready++
				s.example = err.Error()
			}
		})
		select {
		case <-over:
			probing.Wait()
			return s
		case <-ticks.C:
		}
	}
}

func ask200(client *http.Client, url string) error {
	got, err := client.Get(url)
	if err != nil {
		return err
	}
	defer got.Body.Close()
	if got.StatusCode != http.StatusOK {
		return fmt.Errorf("/readyz says %s", got.Status)
	}
	return nil
}
