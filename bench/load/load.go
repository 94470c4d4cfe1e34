package load

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Load says what is sent, by whom and for how long.
type Load struct {
	// Address is the server's host and port, Path where it takes POSTs.
	Address, Path string
	// Connections is how many send side by side, each one request at a time.
	Connections int
	// Duration is how long requests are sent. Requests bounds them as well when
	// it is not zero.
	Duration time.Duration
	Requests int
	// Request appends the n-th request's body to out, and Check says what is
	// wrong with its answer. Both are called side by side.
	Request func(out []byte, n int) []byte
	Check   func(n, status int, answer []byte) error
	// Header appends lines to the head of the n-th request; nil means none.
	Header func(out []byte, n int) []byte
	// Class sorts requests for their latencies; nil means that all are of class 0.
	Class func(n int) int
}

// A Result is what came of a Load.
type Result struct {
	Requests int
	Elapsed  time.Duration
	// Latencies are those of each class, sorted.
	Latencies [][]time.Duration
}

// PerSecond is the throughput.
func (r Result) PerSecond() float64 { return float64(r.Requests) / r.Elapsed.Seconds() }

// Quantile is the latency that the share q of the class's requests did not exceed.
func (r Result) Quantile(class int, q float64) time.Duration {
	sorted := r.Latencies[class]
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// Run sends the load, and stops at the first answer that is wrong.
func Run(load Load) (Result, error) {
	clients := make([]*Client, load.Connections)
	for i := range clients {
		c, err := Dial(load.Address, load.Path)
		if err != nil {
			return Result{}, err
		}
		defer c.Close()
		clients[i] = c
	}
	var (
		next     atomic.Int64
		failed   atomic.Pointer[error]
		mu       sync.Mutex
		classes  [][]time.Duration
		senders  sync.WaitGroup
		start    = time.Now()
		deadline = start.Add(load.Duration)
	)
	for _, c := range clients {
		senders.Go(func() {
			own := make([][]time.Duration, 1, 2)
			own[0] = make([]time.Duration, 0, 1024)
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				for class, latencies := range own {
					for len(classes) <= class {
						classes = append(classes, nil)
					}
					classes[class] = append(classes[class], latencies...)
				}
			}()
			var header, body []byte
			for failed.Load() == nil {
				n := int(next.Add(1)) - 1
				sent := time.Now()
				if load.Requests > 0 && n >= load.Requests || load.Duration > 0 && sent.After(deadline) {
					return
				}
				body = load.Request(body[:0], n)
				if load.Header != nil {
					header = load.Header(header[:0], n)
				}
				status, answer, err := c.Do(header, body)
				took := time.Since(sent)
				if err == nil {
					err = load.Check(n, status, answer)
				}
				if err != nil {
					err = fmt.Errorf("request %d: %w", n, err)
					failed.CompareAndSwap(nil, &err)
					return
				}
				class := 0
				if load.Class != nil {
					class = load.Class(n)
				}
				for len(own) <= class {
					own = append(own, nil)
				}
				own[class] = append(own[class], took)
			}
		})
	}
	senders.Wait()
	result := Result{Elapsed: time.Since(start), Latencies: classes}
	for _, class := range classes {
		result.Requests += len(class)
		slices.Sort(class)
	}
	if err := failed.Load(); err != nil {
		return result, *err
	}
	return result, nil
}
