package idempotency

import (
	"context"
	"errors"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/onceql/onceql/idempotency/internal/schedule"
	"github.com/onceql/onceql/idempotency/internal/store"
)

// A call is one that the scheduler runs, for its leader.
type call = schedule.Call[*request, result]

// An operation is how calls of one kind run.
type operation struct {
	limits Limits
	// batch says how they run together; nil when they run singly.
	batch *schedule.Batch
	// run does the work of the items in tx and returns what it made of each. When it
	// returns an error nothing of it may stand. It may still run when the execution has
	// ended, so it only reads the items.
	run func(ctx context.Context, tx *store.EffectTx, items []*item) ([]verdict, error)
}

// An item is a call in a transaction.
type item struct {
	call    *call
	request *request
	verdict
}

// A verdict is what the effect made of an item: a response, and what it decodes to, or
// an error.
type verdict struct {
	state    state
	response []byte
	value    any
	err      error
}

// A state is what the effect said of an item.
type state int

const (
	undecided state = iota
	succeeded
	// failed: refused, and nothing was done for it.
	failed
	// failedLate: refused, and something may have been done for it.
	failedLate
)

// An execution is what a worker does with calls of one operation: a transaction.
type execution struct {
	*Engine
	operation *operation
	// single says that there is one call, which has left any batch for good.
	single bool
	budget time.Duration
	limits store.Limits
	trace  trace
}

// A batch's statements wait so long for a lock, and less while it is bisected over a wait.
const (
	batchLock  = 50 * time.Millisecond
	bisectLock = time.Millisecond
	// leastShared is what shared is at least, however short the callers' waits are.
	leastShared = 250 * time.Millisecond
)

// shared is the budget of what calls share: a batch, a look-up.
func (l Limits) shared() time.Duration {
	return max(min(l.Budget, l.Wait)/4, min(l.Budget, leastShared))
}

// execution returns how calls run. A single call has its whole budget, and Postgres
// ends its statements a moment before. A batch is bounded so that a call which needs
// more delays the others little.
func (e *Engine) execution(op *operation, single bool) *execution {
	x := &execution{Engine: e, operation: op, single: single, budget: op.limits.Budget}
	if !single {
		x.budget = op.limits.shared()
	}
	statement := x.budget - x.budget/10
	x.limits = store.Limits{Lock: statement, Statement: statement, Idle: x.budget}
	if !single {
		x.limits.Lock = min(batchLock, statement)
		x.limits.Statement = min(op.limits.Budget/10, statement)
	}
	return x
}

// apart returns a little more than d, up to a millisecond, by the number of the run: what
// begins at one moment, as all do that waited for the database, does not end at one.
func apart(d time.Duration, run int) time.Duration {
	return d + time.Duration(1+run*7919%999_983) // Primes, so that neighbours are far apart.
}

// execute runs the calls, which are of one operation, in a transaction.
func (e *Engine) execute(ctx context.Context, calls []*call) {
	op := calls[0].Leader.operation
	x := e.execution(op, op.batch == nil || calls[0].Single)
	ctx, cancel := context.WithTimeout(ctx, apart(x.budget, calls[0].Run()))
	defer cancel()
	// In one order, whoever came first: two batches must not wait for each other.
	keys := sorted(calls)
	x.trace = e.trace(ctx, calls)
	defer x.trace.end()
	claiming, done := x.trace.step(ctx, StepClaim)
	tx, failure := e.store.Claim(claiming, keys, x.limits)
	done(failure)
	if failure != nil {
		x.unclaimed(ctx, calls, failure)
		return
	}
	defer tx.End(ctx)
	defer x.survive(tx, calls)
	e.schedule.Reached()
	if items := x.replayFound(tx, calls, keys); len(items) > 0 {
		x.try(ctx, tx, items)
	}
}

// survive keeps the worker alive when pgx panics: goroutines that an effect left behind
// may still use the connection. Callers that were not answered hear that the outcome is
// unknown.
func (x *execution) survive(tx *store.Tx, calls []*call) {
	if value := recover(); value != nil {
		err := unavailable(&PanicError{Value: value, Stack: debug.Stack()})
		tx.Abandon()
		for _, c := range calls {
			x.fail(c, err)
		}
	}
}

func sorted(calls []*call) []store.Key {
	slices.SortFunc(calls, func(a, b *call) int { return store.Key(a.ID()).Compare(store.Key(b.ID())) })
	keys := make([]store.Key, len(calls))
	for i, c := range calls {
		keys[i] = store.Key(c.ID())
	}
	return keys
}

// errUnacknowledged is what a caller hears whose outcome is there, but not known to be
// where commits wait for it.
var errUnacknowledged = errors.New("the outcome is not acknowledged by a standby")

// replayFound answers the calls whose rows are there, before any effect runs, and returns
// those that have to run.
func (x *execution) replayFound(tx *store.Tx, calls []*call, keys []store.Key) []*item {
	items := make([]*item, 0, len(calls))
	for i, c := range calls {
		r := c.Leader
		row, there := tx.Rows[keys[i]]
		if there && row.ExecutionID == r.executionID {
			x.executed(r) // By a COMMIT that was not answered.
		}
		switch {
		case there && tx.Synchronous:
			c.Again(schedule.Found, errUnacknowledged)
		case there:
			c.Resolve(result{Row: row})
		case !tx.Held[i]:
			c.Again(schedule.Elsewhere, nil)
		case r.refusals > 1 && r.commitFailure.Told():
			x.refuse(c, r.commitFailure.Err)
		case r.commits >= maxTries:
			x.fail(c, unavailable(r.commitFailure.Err))
		default:
			items = append(items, &item{call: c, request: r})
		}
	}
	return items
}

// try runs the effect for the items and commits what it says.
func (x *execution) try(ctx context.Context, tx *store.Tx, items []*item) {
	failure := x.run(ctx, tx, items)
	if failure == nil && !slices.ContainsFunc(items, func(i *item) bool { return i.state == failedLate }) {
		if failure = x.commit(ctx, tx, items); failure == nil {
			return
		}
	}
	switch {
	case len(items) == 1:
		tx.End(ctx)
		x.undoneSingle(items[0], failure)
	case failure != nil && errors.Is(failure.Err, errBatchSize):
		tx.End(ctx)
		x.singly(items)
	case tx.Over() || failure != nil && failure.Owner == store.Conflict:
		tx.End(ctx)
		x.undone(items, failure)
	default:
		x.bisect(ctx, tx, items, failure)
	}
}

// run runs the effect for the items.
func (x *execution) run(ctx context.Context, tx *store.Tx, items []*item) *store.Failure {
	for _, i := range items {
		i.verdict = verdict{}
	}
	if values := items[0].request.values; values != nil {
		ctx = effectContext{ctx, values}
	}
	done := new(atomic.Bool)
	defer done.Store(true)
	ctx = context.WithValue(ctx, nestedKey{}, done)
	ctx, ran := x.trace.step(ctx, StepEffect)
	failure := tx.Run(ctx, func(handle *store.EffectTx) error {
		verdicts, err := protect(ctx, func() ([]verdict, error) { return x.operation.run(ctx, handle, items) })
		for n, v := range verdicts {
			items[n].verdict = v
		}
		return err
	})
	ran(failure)
	return failure
}

// protect runs an effect in a goroutine of its own, where a panic and runtime.Goexit
// end nothing else.
func protect(ctx context.Context, effect func() ([]verdict, error)) ([]verdict, error) {
	type end struct {
		verdicts []verdict
		err      error
	}
	ended := make(chan end, 1)
	go func() {
		e := end{err: &PanicError{}}
		defer func() {
			if value := recover(); value != nil {
				e.err = &PanicError{Value: value, Stack: debug.Stack()}
			}
			ended <- e
		}()
		verdicts, err := effect()
		for _, v := range verdicts {
			callMethods(v.err)
		}
		callMethods(err)
		e = end{verdicts, err}
	}()
	select {
	case e := <-ended:
		return e.verdicts, e.err
	case <-ctx.Done():
	}
	// A moment for an effect that heeds its context.
	grace := time.NewTimer(time.Second)
	defer grace.Stop()
	select {
	case e := <-ended:
		return e.verdicts, e.err
	case <-grace.C:
		return nil, store.ErrAbandoned
	}
}

// callMethods calls the methods of an effect's error that the engine and its callers will
// call: when one panics, as that of a nil pointer may, it is the effect's panic.
func callMethods(err error) {
	if err != nil {
		_ = errors.Is(err, ErrTransaction)
		_ = err.Error()
	}
}

// commit commits the items that succeeded and tells each item what came of it. When it
// fails nobody has been told anything.
func (x *execution) commit(ctx context.Context, tx *store.Tx, items []*item) *store.Failure {
	rows := make([]store.Row, 0, len(items))
	for _, i := range items {
		if i.state == succeeded {
			rows = append(rows, x.row(tx, i))
		}
	}
	if len(rows) == 0 {
		tx.End(ctx)
	} else {
		committing, done := x.trace.step(ctx, StepCommit)
		failure := tx.Commit(committing, rows, x.operation.limits.Budget)
		done(failure)
		if failure != nil {
			return failure
		}
	}
	for _, i := range items {
		if i.state == succeeded {
			x.executed(i.request)
			i.call.Resolve(result{Row: rows[0], value: i.value})
			rows = rows[1:]
		} else {
			x.refuse(i.call, i.err)
		}
	}
	return nil
}

func (x *execution) row(tx *store.Tx, i *item) store.Row {
	limits := x.operation.limits
	return store.Row{
		Key:           store.Key(i.call.ID()),
		Operation:     i.request.call.Operation,
		Hash:          i.request.hash[:],
		HashVersion:   x.config.FingerprintVersion,
		Response:      i.response,
		RequestID:     i.request.call.RequestID,
		ExecutionID:   i.request.executionID,
		Trace:         i.request.call.trace(),
		CreatedAt:     tx.Now,
		ExpiresAt:     tx.Now.Add(limits.TTL.Truncate(time.Microsecond)),
		RetainedUntil: tx.Now.Add(limits.Retention.Truncate(time.Microsecond)),
	}
}

// executed tells the observer, once for each execution.
func (e *Engine) executed(r *request) {
	if !r.executed.Swap(true) {
		e.observe(Event{Kind: Executed, ExecutedBy: r.call.RequestID}, r)
	}
}

// refuse answers the leader, and the followers who ask for the same.
func (e *Engine) refuse(c *call, err error) {
	e.observe(Event{Kind: Failed, Err: err}, c.Leader)
	c.Refuse(err)
}

// fail answers the leader alone.
func (e *Engine) fail(c *call, err error) {
	e.observe(Event{Kind: Failed, Err: err}, c.Leader)
	c.Fail(err)
}

func (e *Engine) observe(event Event, r *request) {
	event.Operation, event.RequestID, event.TraceID = r.call.Operation, r.call.RequestID, r.call.TraceID
	e.config.Observer(event)
}

// nestedKey is where an effect's context has a flag that tells when the effect is over.
type nestedKey struct{}

// nested returns ErrNested in an effect.
func nested(ctx context.Context) error {
	if done, ok := ctx.Value(nestedKey{}).(*atomic.Bool); ok && !done.Load() {
		return ErrNested
	}
	return nil
}

// An effectContext ends with the budget and has the caller's values.
type effectContext struct {
	context.Context
	values context.Context
}

// Value implements context.Context.
func (c effectContext) Value(key any) any { return c.values.Value(key) }
