package load

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/onceql/onceql/chaos/history"
)

// settlers is how many callers settle keys at once.
const settlers = 32

// Settle calls for each key of which no caller heard what became of it, until one does or
// ctx ends. It returns how many keys that were and those that are not settled. No Run is
// under way.
func (l *Load) Settle(ctx context.Context) (open int, unsettled []string) {
	var keys []string
	for key := range l.first {
		if !slices.ContainsFunc(l.Client.History.Of(key), history.Call.Definite) {
			keys = append(keys, key)
		}
	}
	var mu sync.Mutex
	var callers sync.WaitGroup
	next := make(chan string)
	for i := range settlers {
		callers.Go(func() {
			for key := range next {
				servers := l.Servers
				if strings.HasPrefix(key, Short) {
					servers = []Target{l.Short}
				}
				if !l.Client.Settle(ctx, servers, i, l.first[key]) {
					mu.Lock()
					unsettled = append(unsettled, key)
					mu.Unlock()
				}
			}
		})
	}
	for _, key := range keys {
		next <- key
	}
	close(next)
	callers.Wait()
	return len(keys), unsettled
}
