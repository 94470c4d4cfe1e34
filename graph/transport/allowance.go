package transport

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultMaxAnswer is 8 MiB: a page of a hundred projects has at most 6.1 MB of names and
// descriptions.
const DefaultMaxAnswer = 8 << 20

const (
	// smallAnswer is how large an answer may be, in bytes, that takes no share of the memory
	// for answers.
	smallAnswer = 32 << 10
	// answerTurn is how long a query waits for the memory for a larger one.
	answerTurn = 5 * time.Second
)

var (
	// ErrLargeAnswer reports a query that reads more than its answer may hold.
	ErrLargeAnswer = errors.New("the answer would be too large")
	// ErrNoMemory reports a query that waited in vain for its share of the memory for
	// answers. The transport refuses its request as a whole.
	ErrNoMemory = errors.New("too many large answers are waiting")
)

// An allowance is what the answer to one request may hold, and holds. The fields of a
// request, which run side by side, share it.
type allowance struct {
	transport Transport
	most      int64
	read      atomic.Int64

	// mu is locked while one field waits: the others wait for the same.
	mu sync.Mutex
	// reserved is whether a field has waited, and refused whether it did in vain.
	reserved, refused bool
	// held is what the tenant has of the gate for this answer.
	held   int64
	tenant string
}

type allowanceKey struct{}

func (t Transport) allowance() *allowance {
	a := &allowance{transport: t, most: t.MaxAnswer}
	if a.most == 0 {
		a.most = DefaultMaxAnswer
	}
	return a
}

// Reserve waits for the memory for what all fields of the query of ctx may read at most, in
// bytes of the answer's JSON. A field calls it before it reads anything, so that what waits
// holds nothing. What is not needed is given back once the query is executed. It returns
// ErrNoMemory when it waited in vain, and ErrLargeAnswer when the other fields have read too
// much already.
func Reserve(ctx context.Context, most func() int64) error {
	a, _ := ctx.Value(allowanceKey{}).(*allowance)
	if a == nil {
		return nil
	}
	if a.read.Load() > a.most {
		return ErrLargeAnswer
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.reserved {
		a.reserved = true
		if err := a.wait(ctx, min(most(), a.most)); err != nil {
			a.refused = true
			return errors.Join(ErrNoMemory, err)
		}
	}
	if a.refused {
		return ErrNoMemory
	}
	return nil
}

// Read counts what a field of a query has read, in bytes of the answer's JSON. It returns
// ErrLargeAnswer once the query's fields together have read more than Transport.MaxAnswer.
func Read(ctx context.Context, bytes int64) error {
	a, _ := ctx.Value(allowanceKey{}).(*allowance)
	if a != nil && a.read.Add(bytes) > a.most {
		return ErrLargeAnswer
	}
	return nil
}

// wait waits for so many bytes of the memory for answers.
func (a *allowance) wait(ctx context.Context, bytes int64) error {
	gate := a.transport.Answers
	if gate == nil || bytes <= smallAnswer {
		return nil
	}
	tenant, err := a.transport.tenant(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTurn)
	defer cancel()
	bytes = min(bytes, gate.Slots())
	if _, err := gate.Enter(ctx, tenant, bytes); err != nil {
		return err
	}
	a.tenant, a.held = tenant, bytes
	return nil
}

// cover makes what is held as much as an answer of so many bytes needs: less than was
// reserved, or more, as for a mutation's, of which nothing was. It says no when there is no
// room for the answer, which can't wait: it is there already.
func (a *allowance) cover(ctx context.Context, bytes int64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	gate := a.transport.Answers
	switch {
	case a.refused:
		return false
	case gate == nil:
		return true
	case bytes < a.held:
		a.giveBack(a.held - bytes)
		return true
	}
	missing := min(bytes, gate.Slots()) - a.held
	if missing <= smallAnswer {
		return true
	}
	tenant, err := a.transport.tenant(ctx)
	if err != nil || !gate.TryEnter(tenant, missing) {
		a.transport.busy(ctx)
		return false
	}
	a.tenant, a.held = tenant, a.held+missing
	return true
}

func (a *allowance) giveBack(bytes int64) {
	if a.held > 0 {
		a.held -= bytes
		a.transport.Answers.Leave(a.tenant, bytes)
	}
}

// end gives back all that is held.
func (a *allowance) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.giveBack(a.held)
}
