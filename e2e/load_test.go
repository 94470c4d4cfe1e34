package e2e_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

// A load is callers who send new calls, each of them once, one after another.
type load struct {
	t       testing.TB
	callers sync.WaitGroup

	// under is held by who sends a call.
	under   sync.RWMutex
	servers []*server
	ended   bool

	mu    sync.Mutex
	calls []sent
}

// rest is how long a caller rests who was not answered as it wished.
const rest = 50 * time.Millisecond

// sent is a call that was answered.
type sent struct {
	request    request
	answer     answer
	begun, end time.Time
}

// succeeded says whether the call took effect.
func (s sent) succeeded() bool { return s.answer.fieldStatus() != "" }

// startLoad starts a caller for each subject, who creates projects and renames the
// subject. It is ended after the test, if not before.
func startLoad(t testing.TB, subjects []string, servers ...*server) *load {
	t.Helper()
	l := &load{t: t, servers: servers}
	for caller, subject := range subjects {
		l.callers.Go(func() {
			for n := caller; ; n++ {
				key := fmt.Sprint(caller, " ", n)
				call := create(key, "Apollo "+key)
				if n%3 == 0 {
					call = rename(key, subject, "Gemini "+key)
				}
				if !l.sendOne(call, n) {
					return
				}
			}
		})
	}
	t.Cleanup(func() { l.end() })
	return l
}

// sendOne sends a call and says whether the caller goes on.
func (l *load) sendOne(r request, n int) bool {
	l.under.RLock()
	defer l.under.RUnlock()
	if l.ended {
		return false
	}
	begun := time.Now()
	a, err := l.servers[n%len(l.servers)].try(context.WithoutCancel(l.t.Context()), r)
	if err != nil {
		l.t.Errorf("a call has no answer: %v", err)
		return false
	}
	call := sent{r, a, begun, time.Now()}
	l.mu.Lock()
	l.calls = append(l.calls, call)
	l.mu.Unlock()
	if !call.succeeded() {
		time.Sleep(rest) // As a client that has been told when to come again.
	}
	return true
}

// sendTo has the calls sent to these servers in turn. No call to others is under way
// when it returns.
func (l *load) sendTo(servers ...*server) {
	l.under.Lock()
	defer l.under.Unlock()
	l.servers = servers
}

// more waits until so many more calls are answered, of those that are counted.
func (l *load) more(n int, counted func(sent) bool) {
	l.t.Helper()
	l.mu.Lock()
	seen := len(l.calls)
	l.mu.Unlock()
	eventually(l.t, "calls to be answered", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		for ; seen < len(l.calls); seen++ {
			if counted(l.calls[seen]) {
				n--
			}
		}
		return n <= 0 || l.t.Failed()
	})
	if l.t.Failed() {
		l.t.FailNow()
	}
}

// end returns the calls that were answered, in the order of their answers.
func (l *load) end() []sent {
	l.under.Lock()
	l.ended = true
	l.under.Unlock()
	l.callers.Wait()
	return l.calls
}

// subjects are projects that exist, one for each caller of a load.
func subjects(s *server, n int) []string {
	s.t.Helper()
	ids := make([]string, n)
	for i, a := range sendBurst(s.t, n, []*server{s}, func(i int) request { return create(fmt.Sprint("subject ", i), "Mercury") }) {
		ids[i] = a.project().ID
	}
	return ids
}
