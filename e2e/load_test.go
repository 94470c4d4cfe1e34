package e2e_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
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

// sent is a call that was answered.
type sent struct {
	request request
	answer  answer
}

// mixed asks for a new project, or for the subject to be renamed, under the key.
func mixed(subject string) func(key string, n int) request {
	return func(key string, n int) request {
		if n%3 == 0 {
			return rename(key, subject, "Gemini "+key)
		}
		return create(key, "Apollo "+key)
	}
}

// startLoad starts so many callers. It is ended after the test, if not before.
func startLoad(t testing.TB, callers int, request func(key string, n int) request, servers ...*server) *load {
	t.Helper()
	l := &load{t: t, servers: servers}
	for caller := range callers {
		l.callers.Go(func() {
			for n := caller; l.sendOne(request(fmt.Sprint(caller, " ", n), n), n); n++ {
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
	a, err := l.servers[n%len(l.servers)].try(context.WithoutCancel(l.t.Context()), r)
	if err != nil {
		l.t.Errorf("a call has no answer: %v", err)
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, sent{r, a})
	return true
}

// sendTo has the calls sent to these servers in turn. No call to others is under way
// when it returns.
func (l *load) sendTo(servers ...*server) {
	l.under.Lock()
	defer l.under.Unlock()
	l.servers = servers
}

// more waits until so many more calls are answered.
func (l *load) more(n int) {
	l.t.Helper()
	enough := l.answered() + n
	eventually(l.t, "calls to be answered", func() bool { return l.answered() >= enough || l.t.Failed() })
	if l.t.Failed() {
		l.t.FailNow()
	}
}

func (l *load) answered() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.calls)
}

// end returns the calls that were answered, in the order of their answers.
func (l *load) end() []sent {
	l.under.Lock()
	l.ended = true
	l.under.Unlock()
	l.callers.Wait()
	return l.calls
}
