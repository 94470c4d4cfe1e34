package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// callers is how many send side by side.
const callers = 64

// patience is how long a caller sends a request again.
const patience = 30 * time.Second

// A load is callers who send new keys, keys that they sent before, and changes of
// projects.
type load struct {
	servers []*server
	client  *http.Client
	run     string

	sent, again atomic.Int64
	failed      atomic.Pointer[error]
	over        chan struct{}
	sending     sync.WaitGroup
}

func newLoad(servers []*server) *load {
	return &load{
		servers: servers, run: fmt.Sprint(time.Now().UnixNano()),
		client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: callers}},
	}
}

// calibrate returns how many requests a second there are when nobody pauses.
func (l *load) calibrate(duration time.Duration) (perSecond float64, err error) {
	l.begin(0)
	time.Sleep(duration)
	l.end()
	return float64(l.sent.Load()) / duration.Seconds(), l.failure()
}

// begin sends so many requests a second until end; zero sends as many as it can.
func (l *load) begin(perSecond float64) {
	l.over = make(chan struct{})
	start, before := time.Now(), l.sent.Load()
	for range callers {
		l.sending.Go(func() {
			for {
				n := l.sent.Add(1)
				var at time.Duration
				if perSecond > 0 {
					at = time.Duration(float64(n-before) / perSecond * float64(time.Second))
				}
				select {
				case <-l.over:
					return
				case <-time.After(time.Until(start.Add(at))):
				}
				if err := l.send(n); err != nil {
					l.failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
}

func (l *load) end() {
	close(l.over)
	l.sending.Wait()
}

// failure is the first request that failed.
func (l *load) failure() error {
	if err := l.failed.Load(); err != nil {
		return *err
	}
	return nil
}

const (
	create = `mutation ($input: CreateProjectInput!, $key: String!) { call: createProject(input: $input, idempotencyKey: $key) { project { name } } }`
	update = `mutation ($input: UpdateProjectInput!, $key: String!) { call: updateProject(input: $input, idempotencyKey: $key) { project { name } } }`
)

// send sends the n-th request: of ten, six have a new key, two one that another caller
// has sent a moment ago, and two change a project.
func (l *load) send(n int64) error {
	document, of := create, n
	input := map[string]any{}
	switch n % 10 {
	case 6, 7:
		of = max(1, n-1000-n%5)
		for of%10 > 5 {
			of--
		}
	case 8, 9:
		document, input["id"] = update, changedID(int(n))
	}
	name := fmt.Sprint("Project ", of)
	input["name"] = name
	body, err := json.Marshal(map[string]any{"query": document, "variables": map[string]any{"input": input, "key": fmt.Sprint(l.run, "-", of)}})
	if err != nil {
		return err
	}
	for start := time.Now(); ; l.again.Add(1) {
		// The first server is the one that is not restarted.
		err := l.post(l.servers[int(n+l.again.Load())%len(l.servers)], body, name)
		if err == nil || !errors.Is(err, errAgain) || time.Since(start) > patience {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// errAgain is an answer that asks to come again, or none.
var errAgain = errors.New("come again")

func (l *load) post(to *server, body []byte, name string) error {
	got, err := l.client.Post(to.url(), "application/json", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: %w", errAgain, err)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil || got.StatusCode == http.StatusServiceUnavailable {
		return fmt.Errorf("%w: %s: %w", errAgain, got.Status, err)
	}
	var answer struct {
		Data struct {
			Call *struct{ Project struct{ Name string } }
		}
		Errors []struct{ Extensions struct{ Retryable bool } }
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return fmt.Errorf("%s: %q: %w", got.Status, text, err)
	}
	switch {
	case len(answer.Errors) > 0 && answer.Errors[0].Extensions.Retryable:
		return fmt.Errorf("%w: %s", errAgain, text)
	case answer.Data.Call == nil || answer.Data.Call.Project.Name != name:
		return fmt.Errorf("%q was answered %s", name, text)
	}
	return nil
}
