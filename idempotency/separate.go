package idempotency

import (
	"context"
	"fmt"
	"math/bits"
	"time"

	"github.com/onceql/onceql/idempotency/internal/schedule"
	"github.com/onceql/onceql/idempotency/internal/store"
)

// maxTries bounds how often an effect runs for one caller whose connection is lost
// during it, or whose COMMIT is not answered; maxRaces, how often a row may be refused
// as a duplicate though there is none.
const (
	maxTries = 3
	maxRaces = 3
)

// A bisection finds the items that a batch fails over. It refuses none: all its runs share
// one transaction, so that an item may fail over what another did. An item that fails by
// itself leaves the batch and runs singly.
type bisection struct {
	*execution
	tx   *store.Tx
	lock time.Duration
	// kept stand in the transaction, suspects have left it, and rest has been left out
	// because the bisection has taken too long.
	kept, suspects, rest []*item
	// failures counts the runs that failed, of which most are allowed.
	failures, most int
	until          time.Time
	// fatal ended the transaction.
	fatal *store.Failure
}

// bisect separates the items that the batch fails over from the others, and commits
// those.
func (x *execution) bisect(ctx context.Context, tx *store.Tx, items []*item, failure *store.Failure) {
	x.bisections.Add(1)
	b := &bisection{
		execution: x, tx: tx, lock: x.limits.Lock,
		most:  2 * bits.Len(uint(len(items))),
		until: time.Now().Add(x.budget / 2),
	}
	if failure != nil && failure.Owner == store.Slow {
		b.lock = bisectLock
	}
	b.undo(ctx)
	if failure == nil {
		b.withoutLate(ctx, items)
	} else {
		b.split(ctx, items)
	}
	if b.fatal != nil {
		tx.End(ctx)
		x.undone(items, b.fatal)
		return
	}
	if len(b.kept) > 0 {
		if failure := x.commit(ctx, tx, b.kept); failure != nil {
			// Constraints that the runs deferred do not hold together.
			if tx.Over() {
				x.undone(b.kept, failure)
			} else {
				b.rest = append(b.rest, b.kept...)
			}
		}
	}
	tx.End(ctx)
	b.blame(items)
	x.singly(b.suspects)
	x.singly(b.rest)
}

// mostPeers is how many calls of one scope a batch may have for each to be blamed for what
// it does: of a scope with many calls some may fail now and then.
const mostPeers = 5

// blame blames the suspects, and notes of all who leave the batch how many peers they
// had.
func (b *bisection) blame(items []*item) {
	of := map[string]int{}
	for _, i := range items {
		of[i.request.call.Scope]++
	}
	for _, i := range append(b.rest, b.suspects...) {
		i.request.peers = of[i.request.call.Scope]
	}
	for _, i := range b.suspects {
		if i.request.peers <= mostPeers {
			i.call.Blame()
		}
	}
}

// try runs the effect for the items, and says whether it succeeded. Otherwise it finds
// out over which of them it fails.
func (b *bisection) try(ctx context.Context, items []*item) bool {
	if len(items) == 0 || b.fatal != nil {
		return true
	}
	if b.failures >= b.most || time.Now().After(b.until) {
		b.rest = append(b.rest, items...)
		return false
	}
	failure := b.run(ctx, b.tx, items)
	if failure == nil {
		for _, i := range items {
			if i.state == failedLate {
				b.failures++
				b.undo(ctx)
				b.withoutLate(ctx, items)
				return false
			}
		}
		if failure = b.tx.Keep(ctx); failure == nil {
			b.kept = append(b.kept, items...)
			return true
		}
	}
	b.failures++
	if failure.Owner != store.Effect && failure.Owner != store.Slow {
		b.fatal = failure
		return false
	}
	if failure.Owner == store.Slow {
		b.lock = bisectLock
	}
	b.undo(ctx)
	b.split(ctx, items)
	return false
}

// split tries both halves of items that fail together. When the first does not
// fail, the second is to blame, and need not run as a whole.
func (b *bisection) split(ctx context.Context, items []*item) {
	if len(items) == 1 {
		b.suspects = append(b.suspects, items...)
		return
	}
	first, second := items[:len(items)/2], items[len(items)/2:]
	if b.try(ctx, first) && b.fatal == nil {
		b.split(ctx, second)
		return
	}
	b.try(ctx, second)
}

// withoutLate goes on without the items that were refused after the first statement.
func (b *bisection) withoutLate(ctx context.Context, items []*item) {
	others := make([]*item, 0, len(items))
	for _, i := range items {
		if i.state == failedLate {
			b.suspects = append(b.suspects, i)
		} else {
			others = append(others, i)
		}
	}
	b.try(ctx, others)
}

// undo takes back what the last run did.
func (b *bisection) undo(ctx context.Context) {
	if failure := b.tx.Back(ctx, b.lock); failure != nil && b.fatal == nil {
		b.fatal = failure
	}
}

// singly runs the items again, each by itself. To their callers they still execute.
func (x *execution) singly(items []*item) {
	for _, i := range items {
		i.call.Again(schedule.Singly, nil)
	}
}

// unclaimed decides what becomes of calls whose transaction could not begin. When the
// budget was over by then, that says nothing of the database.
func (x *execution) unclaimed(ctx context.Context, calls []*call, failure *store.Failure) {
	away := failure.Owner == store.Database && ctx.Err() == nil
	switch {
	case away:
		x.schedule.Unreachable(failure.Err)
	case failure.Owner != store.Database:
		x.schedule.Reached()
	}
	for _, c := range calls {
		switch {
		case failure.Owner == store.Deployment:
			x.refuse(c, failedBy(failure))
		case away:
			x.observe(Event{Kind: Retried, Err: failure.Err}, c.Leader)
			c.Again(schedule.Together, failure.Err)
		default:
			x.again(c, failure.Err)
		}
	}
}

// undone decides what becomes of items whose batch had no effect.
func (x *execution) undone(items []*item, failure *store.Failure) {
	for _, i := range items {
		switch failure.Owner {
		case store.Unknown:
			x.unknown(i, failure)
		case store.Lost:
			i.request.lost++
			x.again(i.call, failure.Err)
		case store.Conflict, store.Race, store.Database:
			x.again(i.call, failure.Err)
		case store.Effect, store.Slow, store.Late, store.Deployment:
			x.observe(Event{Kind: Retried, Err: failure.Err}, i.request)
			i.call.Again(schedule.Singly, nil)
		}
	}
}

// undoneSingle is undone for an item that had the transaction to itself.
func (x *execution) undoneSingle(i *item, failure *store.Failure) {
	c, r := i.call, i.request
	if r.peers <= mostPeers && (failure == nil || failure.Owner <= store.Late) {
		c.Blame()
	}
	if failure == nil { // It was refused late.
		x.refuse(c, i.err)
		return
	}
	switch failure.Owner {
	case store.Effect:
		x.refuse(c, failure.Err)
	case store.Slow, store.Late:
		if x.single {
			x.fail(c, unavailable(failure.Err))
		} else {
			c.Again(schedule.Singly, nil)
		}
	case store.Lost:
		if r.lost++; r.lost < maxTries {
			x.again(c, failure.Err)
		} else if failure.Told() {
			x.refuse(c, failure.Err)
		} else {
			x.fail(c, unavailable(failure.Err))
		}
	case store.Race:
		if r.races++; r.races < maxRaces {
			x.again(c, failure.Err)
		} else {
			x.refuse(c, failedBy(failure))
		}
	case store.Deployment:
		x.refuse(c, failedBy(failure))
	case store.Unknown:
		x.unknown(i, failure)
	case store.Conflict, store.Database:
		x.again(c, failure.Err)
	}
}

// again runs a call again whose transaction failed through nobody's fault: once together
// with others, and then singly.
func (x *execution) again(c *call, err error) {
	x.observe(Event{Kind: Retried, Err: err}, c.Leader)
	how := schedule.Together
	if c.Leader.undone++; c.Leader.undone > 1 {
		how = schedule.Singly
	}
	c.Again(how, err)
}

// unknown has a call looked up whose COMMIT was not answered, and run singly if its row is
// not there.
func (x *execution) unknown(i *item, failure *store.Failure) {
	x.observe(Event{Kind: CommitUnknown, Err: failure.Err}, i.request)
	i.request.commits++
	if failure.Told() {
		i.request.refusals++
	}
	i.request.commitFailure = failure
	i.call.Single = true
	i.call.Again(schedule.Found, fmt.Errorf("the commit's outcome is unknown: %w", failure.Err))
}
