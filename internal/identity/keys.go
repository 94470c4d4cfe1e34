package identity

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/time/rate"
)

const (
	// refreshEvery is the longest time between two fetches that succeed. A key that
	// the issuer withdrew is refused within five minutes, with time for a fetch that
	// is slow or has to be tried again.
	refreshEvery = 4 * time.Minute
	// trustFor is how long keys are good that the issuer has not confirmed: it may be
	// down for so long.
	trustFor = time.Hour
	// retryAfter and retryEvery are the first and the longest wait for the next try
	// while fetches fail.
	retryAfter = time.Second
	retryEvery = 30 * time.Second
	// Tokens with unknown keys cause fetches too: asksBurst at once, then one in
	// asksEvery, so that made-up keys don't become a burst at the issuer.
	asksEvery = time.Second
	asksBurst = 10
	// maxWaiting is how many requests may wait for a fetch at once.
	maxWaiting = 1000
)

// KeysState says how good the issuer's keys are.
type KeysState int

const (
	// KeysCurrent are those that the last fetch brought.
	KeysCurrent KeysState = iota
	// KeysOld are good, and can't be fetched anew.
	KeysOld
	// KeysMissing says that there are none, or that the issuer has not confirmed them for
	// too long: no token is accepted.
	KeysMissing
)

// A keySet holds the issuer's public keys. One goroutine fetches them, by time and
// when it is asked to; all others read.
type keySet struct {
	fetch func(context.Context) ([]jose.JSONWebKey, error)
	asks  *rate.Limiter
	// asked wakes the goroutine, and stopped says that it has ended.
	asked, stopped chan struct{}

	mu sync.Mutex
	// keys are those of the last fetch. One that the fetch before had too is the same
	// pointer, as long as every fetch has it.
	keys []*jose.JSONWebKey
	// confirmed is when the fetch began that the keys are from.
	confirmed time.Time
	// failure is why the last fetch came to nothing, and failures how many did in a
	// row.
	failure  error
	failures int
	// next is closed at the end of a fetch that is yet to begin. It is nil when
	// nobody waits for one.
	next chan struct{}
	// waiting is how many requests wait for a fetch.
	waiting int
}

func newKeySet(fetch func(context.Context) ([]jose.JSONWebKey, error)) *keySet {
	return &keySet{
		fetch:   fetch,
		asks:    rate.NewLimiter(rate.Every(asksEvery), asksBurst),
		asked:   make(chan struct{}, 1),
		stopped: make(chan struct{}),
	}
}

// verify returns what the token says, and the key, when one of the issuer's verifies it.
// For a key that is not known it waits for newer ones.
func (s *keySet) verify(ctx context.Context, t token) ([]byte, *jose.JSONWebKey, error) {
	keys, known := s.trusted()
	payload, key, err := t.verifiedBy(keys)
	if known && !errors.Is(err, errKey) {
		return payload, key, err
	}
	if err := s.refresh(ctx); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	keys, _ = s.trusted()
	return t.verifiedBy(keys)
}

// trusted returns the keys that are known, and false when there are none, or the
// issuer has not confirmed them for too long.
func (s *keySet) trusted() ([]*jose.JSONWebKey, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.confirmed) > trustFor {
		return nil, false
	}
	return s.keys, true
}

var (
	errStopped = errors.New("the server is stopping")
	errCrowded = fmt.Errorf("%d requests wait for the issuer's keys", maxWaiting)
)

// refresh waits for a fetch that begins after the call. While fetches fail, one
// caller waits for the next, and the others need not wait for an issuer that hangs.
func (s *keySet) refresh(ctx context.Context) error {
	s.mu.Lock()
	if s.failure != nil && (s.next != nil || s.asks.Tokens() < 1) {
		defer s.mu.Unlock()
		return s.failure
	}
	if s.waiting == maxWaiting {
		defer s.mu.Unlock()
		return errCrowded
	}
	if s.next == nil {
		s.next = make(chan struct{})
		s.asked <- struct{}{} // It has room: renew empties it as it takes next.
	}
	next := s.next
	s.waiting++
	s.mu.Unlock()
	var err error
	select {
	case <-next:
	case <-ctx.Done():
		err = ctx.Err()
	case <-s.stopped:
		err = errStopped
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting--
	if err != nil {
		return err
	}
	return s.failure
}

// state says how good the keys are after a fetch that ended with the error.
func (s *keySet) state(err error) KeysState {
	if err == nil {
		return KeysCurrent
	}
	if _, known := s.trusted(); known {
		return KeysOld
	}
	return KeysMissing
}

// run fetches the keys until ctx ends, and tells when their state is another.
func (s *keySet) run(ctx context.Context, changed func(KeysState, error)) {
	defer close(s.stopped)
	s.mu.Lock()
	failure := s.failure
	s.mu.Unlock()
	before := s.state(failure)
	for {
		timer := time.NewTimer(s.pause())
		select {
		case <-timer.C:
		case <-s.asked:
			timer.Stop()
			if s.asks.Wait(ctx) != nil {
				return
			}
		case <-ctx.Done():
			timer.Stop()
			return
		}
		err := s.renew(ctx)
		if state := s.state(err); state != before && ctx.Err() == nil {
			before = state
			changed(state, err)
		}
	}
}

// pause is how long to wait until the next fetch, with jitter, so that servers that
// started together don't ask together.
func (s *keySet) pause() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	longest := refreshEvery
	if s.failures > 0 {
		longest = min(retryAfter<<min(s.failures-1, 10), retryEvery)
	}
	return longest - rand.N(longest/4)
}

// renew fetches the keys once. Where that fails, those that are known stay.
func (s *keySet) renew(ctx context.Context) error {
	s.mu.Lock()
	next := s.next
	s.next = nil
	select {
	case <-s.asked:
	default:
	}
	s.mu.Unlock()

	begin := time.Now()
	keys, err := s.fetch(ctx)

	s.mu.Lock()
	if s.failure = err; err == nil {
		s.keys, s.confirmed, s.failures = kept(s.keys, keys), begin, 0
	} else {
		s.failures++
	}
	s.mu.Unlock()
	if next != nil {
		close(next)
	}
	return err
}

// kept returns the fetched keys, where one of those before is the same as that one.
func kept(before []*jose.JSONWebKey, fetched []jose.JSONWebKey) []*jose.JSONWebKey {
	keys := make([]*jose.JSONWebKey, len(fetched))
	for i := range fetched {
		keys[i] = &fetched[i]
		if n := slices.IndexFunc(before, func(key *jose.JSONWebKey) bool { return same(key, &fetched[i]) }); n >= 0 {
			keys[i] = before[n]
		}
	}
	return keys
}

// same says whether two keys verify the same tokens.
func same(a, b *jose.JSONWebKey) bool {
	public, ok := a.Key.(interface{ Equal(crypto.PublicKey) bool })
	return ok && a.KeyID == b.KeyID && a.Algorithm == b.Algorithm && public.Equal(b.Key)
}
