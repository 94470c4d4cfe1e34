package quota

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// countEvery is how old a count may be.
	countEvery = 5 * time.Second
	// firstCount is how long a call waits for the first one.
	firstCount = time.Second
	// countTimeout bounds a count that nobody waits for.
	countTimeout = 30 * time.Second
	// tellEvery is the shortest time between two counts that are told to have failed.
	tellEvery = time.Minute
)

// Usage is what is stored for a tenant.
type Usage struct{ Keys, Bytes int64 }

// A Stored bounds what is stored for each tenant. It knows what was counted last, which is
// at most a few seconds old while the tenant calls, and what this server added since. It is
// safe for use by many goroutines.
type Stored struct {
	most    Usage
	count   func(ctx context.Context, tenant string) (Usage, error)
	failed  func(ctx context.Context, tenant string, err error)
	tenants recent[stored]
	// told is when failed was called last.
	told atomic.Pointer[time.Time]
}

// stored is what is known of a tenant.
type stored struct {
	mu             sync.Mutex
	counted, added Usage
	at             time.Time
	counting       bool
	// first is closed once the first count has ended.
	first chan struct{}
}

// NewStored returns a bound of so many keys and bytes of each tenant, which count counts. A
// zero is no bound. When a tenant can't be counted failed is told, at most once a minute.
func NewStored(most Usage, count func(ctx context.Context, tenant string) (Usage, error),
	failed func(ctx context.Context, tenant string, err error),
) *Stored {
	return &Stored{most: most, count: count, failed: failed, tenants: newRecent[stored]()}
}

func (s *Stored) of(tenant string) *stored {
	return s.tenants.of(tenant, func() *stored { return &stored{first: make(chan struct{})} })
}

// Know counts what the tenant has, when that is not known or was counted too long ago. It
// waits for the first count alone, and no longer than a second or ctx lasts: replays come
// here too. What can't be counted is bounded by the count before, and not at all where there
// is none.
func (s *Stored) Know(ctx context.Context, tenant string) {
	t := s.of(tenant)
	t.mu.Lock()
	if !t.counting && time.Since(t.at) >= countEvery {
		t.counting, t.at = true, time.Now()
		go s.recount(context.WithoutCancel(ctx), tenant, t, t.added)
	}
	t.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, firstCount)
	defer cancel()
	select {
	case <-t.first:
	case <-ctx.Done():
	}
}

// recount counts what the tenant has. What was added until it began is counted.
func (s *Stored) recount(ctx context.Context, tenant string, t *stored, before Usage) {
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	counted, err := s.count(ctx, tenant)
	if err != nil {
		s.tell(ctx, tenant, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counting = false
	if err == nil {
		t.counted = counted
		t.added = Usage{t.added.Keys - before.Keys, t.added.Bytes - before.Bytes}
	}
	select {
	case <-t.first:
	default:
		close(t.first)
	}
}

func (s *Stored) tell(ctx context.Context, tenant string, err error) {
	now, told := time.Now(), s.told.Load()
	if (told == nil || now.Sub(*told) >= tellEvery) && s.told.CompareAndSwap(told, &now) {
		s.failed(ctx, tenant, err)
	}
}

// Exceeded returns the name of the limit that the tenant has reached, keys or bytes, and ""
// when it may store more. It asks nobody.
func (s *Stored) Exceeded(tenant string) string {
	t := s.of(tenant)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case s.most.Keys > 0 && t.counted.Keys+t.added.Keys >= s.most.Keys:
		return "keys"
	case s.most.Bytes > 0 && t.counted.Bytes+t.added.Bytes >= s.most.Bytes:
		return "bytes"
	}
	return ""
}

// Add notes that a key with a result of so many bytes was stored for the tenant.
func (s *Stored) Add(tenant string, bytes int64) {
	t := s.of(tenant)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.added.Keys++
	t.added.Bytes += bytes
}
