package transport

import (
	"context"
	"errors"
	"sync/atomic"
)

// DefaultMaxAnswer is 8 MiB: a page of a hundred projects has at most 6.1 MB of names and
// descriptions.
const DefaultMaxAnswer = 8 << 20

// ErrLargeAnswer reports a query that reads more than its answer may hold.
var ErrLargeAnswer = errors.New("the answer would be too large")

// An allowance is what the answer to one request may hold. The fields of a request, which
// run side by side, share it.
type allowance struct {
	most int64
	read atomic.Int64
}

type allowanceKey struct{}

func (t Transport) allowance() *allowance {
	a := &allowance{most: t.MaxAnswer}
	if a.most == 0 {
		a.most = DefaultMaxAnswer
	}
	return a
}

// Read counts what a field of a query has read, in bytes of the answer's JSON. It returns
// ErrLargeAnswer once the query's fields together have read more than Transport.MaxAnswer.
// With zero bytes it says whether they have already.
func Read(ctx context.Context, bytes int64) error {
	a, _ := ctx.Value(allowanceKey{}).(*allowance)
	if a == nil {
		return nil
	}
	if a.read.Add(bytes) > a.most {
		return ErrLargeAnswer
	}
	return nil
}
